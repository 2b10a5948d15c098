"""Numbered steps of a detailed chain: where an attempt can be cut, and taken up again."""

from __future__ import annotations

import re
from functools import lru_cache

from medcritical.config.schema import TemplateConfig

_NUMBER = re.compile(r"\d+")


def first_step(template: TemplateConfig, chain: str) -> int | None:
    """The number of the step that a chain begins with; None when it begins with none."""
    match = _mark(template.step, template.chain_separator).match(chain.strip())
    return None if match is None else int(match.group(1))


def steps_before(template: TemplateConfig, chain: str, number: int) -> str | None:
    """What a chain says before its step `number`; None unless it has the steps 1, 2, ... up to that one, in order.

    The step itself may be missing when all before it are there: the chain ended too early.
    """
    text, expected = chain.strip(), 1
    for match in _mark(template.step, template.chain_separator).finditer(text):
        if expected == 1 and match.start() > 0:
            return None
        if int(match.group(1)) != expected:
            continue
        if expected == number:
            return text[: match.start()].strip()
        expected += 1
    return text if 1 < expected == number else None


def located_step(insight: str, num_steps: int) -> int | None:
    """The step that an insight blames: the first number in it, where there is such a step."""
    match = _NUMBER.search(insight)
    number = int(match.group()) if match else 0
    return number if 1 <= number <= num_steps else None


@lru_cache(maxsize=16)
def _mark(step: str, separator: str) -> re.Pattern[str]:
    """What a step begins with: at the start of a line where steps are parted by lines, else of a word."""
    before, _, after = step.partition("{number}")
    start = r"^[ \t]*" if "\n" in separator else r"(?<!\S)"
    end = r"(?!\w)" if not after else ""
    return re.compile(rf"{start}{re.escape(before)}(\d{{1,2}}){re.escape(after)}{end}", re.MULTILINE)
