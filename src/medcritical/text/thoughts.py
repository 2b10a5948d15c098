"""The two-level thought as text: rendering a template's parts and reading them back strictly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medcritical.config.schema import TemplateConfig, TemplateLevel
from medcritical.text.prompts import neutralise

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
        self._response = re.compile(r"\s*" + r"\s*".join(map(_part_pattern, self._parts)) + r"\s*")
        self._insight = re.compile(r"\s*" + _part_pattern(template.insight) + r"\s*")

    def render(self, outline: Sequence[str], chain: Sequence[str], answer: str) -> str:
        """The response that the student is taught: outline, chain and answer at the template's level."""
        template = self.template
        values = {
            "outline": template.outline_separator.join(map(self._data, outline)),
            "chain": template.chain_separator.join(map(self._data, chain)),
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


def _part_pattern(part: str) -> str:
    """A part's regular expression: its literal text with one named group that contains none of its tags."""
    match = re.fullmatch(r"(?s)(.*)\{(\w+)\}(.*)", part)
    assert match is not None, part  # the schema check has seen the placeholder
    before, name, after = match.groups()
    stop = re.escape(after.strip()) or r"\Z"
    begin = re.escape(before.strip())
    guard = rf"(?!{stop})" + (rf"(?!{begin})" if begin else "")
    return rf"{begin}(?P<{name}>(?s:(?:{guard}.)*))" + re.escape(after.strip())
