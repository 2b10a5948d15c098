"""The two-level thought as text: rendering a template's parts and reading them back strictly."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from medcritical.config.choices import TemplateLevel
from medcritical.config.schema import TemplateConfig
from medcritical.text.prompts import neutralise, tags_in

_HAS_OUTLINE = (TemplateLevel.outline, TemplateLevel.both)
_HAS_CHAIN = (TemplateLevel.detailed, TemplateLevel.both)
_STEP = re.compile(r"(?:\*\*|#+ ?)?(?:步骤|第|step )?\s*(\d{1,2})\s*(?:步?[.、．:：)）]|步)", re.IGNORECASE)


@dataclass(frozen=True)
class Thought:
    """The parts of a response as written. A part that the template's level leaves out is empty."""

    outline: str
    chain: str
    answer: str


class ThoughtFormat:
    """Writes and reads responses and corrections in one template's strict form."""

    def __init__(self, template: TemplateConfig) -> None:
        self.template = template
        self._parts = [
            *([template.outline] if template.level in _HAS_OUTLINE else []),
            *([template.chain] if template.level in _HAS_CHAIN else []),
            template.answer,
        ]
        marks = {*tags_in(*self._parts, template.insight), *(_literals(part)[0] for part in self._parts)}
        patterns = [_part_pattern(part, marks) for part in self._parts]
        self._response = re.compile(r"\s*" + r"\s*".join(patterns) + r"\s*")
        self._insight = re.compile(r"\s*" + _part_pattern(template.insight, marks) + r"\s*")
        self._anywhere = re.compile(r"\s*".join(patterns))
        self._correction_anywhere = re.compile(r"\s*".join([_part_pattern(template.insight, marks), *patterns]))

    def render(self, outline: Sequence[str], chain: Sequence[str], answer: str) -> str:
        """The response that the student is taught: outline, chain and answer at the template's level."""
        template = self.template
        values = {
            "outline": self._data(template.outline_separator.join(outline)),  # joined first: two steps can make one tag
            "chain": self._data(template.chain_separator.join(chain)),
            "answer": self._data(answer),
        }
        return template.part_separator.join(part.format(**values) for part in self._parts)

    def render_correction(self, insight: str, response: str) -> str:
        """The correction that the student is taught: where and why the attempt was wrong, then the right response."""
        template = self.template
        return template.insight.format(insight=self._data(insight)) + template.part_separator + response

    def parse(self, text: str) -> Thought | None:
        """The parts of a response in strict form (every part once, in order, nothing around them), else None."""
        match = self._response.fullmatch(text)
        return None if match is None else _thought(match)

    def find(self, text: str) -> Thought | None:
        """The last response in strict form inside `text`, else None. For teachers, who think or talk around it.

        The first tag may be missing: a reasoning model's prompt may end with it, and its response begins after it.
        """
        *_, last = [None, *self._anywhere.finditer(self._opened(text))]
        return None if last is None else _thought(last)

    def find_correction(self, text: str) -> tuple[str, Thought] | None:
        """(insight, response) of the last correction in strict form inside `text`, else None."""
        *_, last = [None, *self._correction_anywhere.finditer(text)]
        return None if last is None else (last.group("insight").strip(), _thought(last))

    def split_correction(self, text: str) -> tuple[str, str] | None:
        """(insight, response) of a correction, or None when it does not begin with an insight."""
        match = self._insight.match(text)
        if match is None:
            return None
        return match.group("insight").strip(), text[match.end() :].strip()

    def _opened(self, text: str) -> str:
        before, _, after = _literals(self._parts[0])
        is_closed_only = before and after and before not in text and after in text
        return before + text if is_closed_only else text

    def _data(self, text: str) -> str:
        return neutralise(text, *self._parts, self.template.insight)


def split_steps(text: str) -> tuple[str, ...]:
    """The steps of an outline or chain: its numbered items ("1.", "2、", "步骤3：", "Step 4:"), each with the lines under
    it, else its lines. Items count as such when they are numbered 1, 2, 3, ... from the first line on."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    steps: list[list[str]] = []
    for line in lines:
        match = _STEP.match(line)
        if match is not None and int(match.group(1)) == len(steps) + 1:
            steps.append([line])
        elif steps:
            steps[-1].append(line)
        else:
            return tuple(lines)
    return tuple("\n".join(step) for step in steps)


def _thought(match: re.Match[str]) -> Thought:
    parts = match.groupdict()
    return Thought(
        outline=parts.get("outline", "").strip(),
        chain=parts.get("chain", "").strip(),
        answer=parts["answer"].strip(),
    )


def _part_pattern(part: str, marks: set[str]) -> str:
    """A part's regular expression: its literal text around one named group that none of `marks` may occur in.

    The group is possessive: it ends at the first mark and never gives back, so reading takes linear time.
    """
    before, name, after = _literals(part)
    barred = "|".join(map(re.escape, sorted({*marks, before, after} - {""})))
    guard = f"(?!{barred})" if barred else ""
    return rf"{re.escape(before)}(?P<{name}>(?s:{guard}.)*+){re.escape(after)}"


def _literals(part: str) -> tuple[str, str, str]:
    """(text before, name, text after) of a part's one placeholder: braces unescaped, outer blanks off."""
    before, name, after = "", "", ""
    for literal, field, _, _ in string.Formatter().parse(part):
        if name:
            after += literal
        else:
            before, name = before + literal, field or ""
    return before.strip(), name, after.strip()
