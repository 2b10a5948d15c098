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
        if match is None:
            return None
        parts = match.groupdict()
        return Thought(
            outline=parts.get("outline", "").strip(),
            chain=parts.get("chain", "").strip(),
            answer=parts["answer"].strip(),
        )

    def split_correction(self, text: str) -> tuple[str, str] | None:
        """(insight, response) of a correction, or None when it does not begin with an insight."""
        match = self._insight.match(text)
        if match is None:
            return None
        return match.group("insight").strip(), text[match.end() :].strip()

    def _data(self, text: str) -> str:
        return neutralise(text, *self._parts, self.template.insight)


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
