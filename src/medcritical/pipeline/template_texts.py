"""Which texts of a template a stage reads: these alone are in its slice, and so in its key. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from medcritical.config.choices import AnswerForm, Retry, TemplateLevel
from medcritical.config.schema import ArmConfig, TemplateConfig
from medcritical.text.prompts import tags_in

SHOWN = ("question", "option", "option_separator")
ASKED = ("system", *SHOWN, "attempt")
FORM = ("level", "outline", "chain", "answer", "insight")
WRITTEN = (*FORM, "outline_separator", "chain_separator", "part_separator")
RETRIED = {Retry.correction: ("correction",), Retry.step: ("step_correction",)}
SPLICED = ("step", "chain_separator", "part_separator")
"""Fields of a template by what they are read for: showing a question, prompts of attempts, reading responses, writing them,
prompts of corrections by kind, and putting a step correction together."""


def reading(template: TemplateConfig, *fields: str) -> TemplateConfig:
    """The template for a stage that reads these fields: of its other texts the tags stay, which data may not use."""

    def unread(value: Any) -> Any:
        if isinstance(value, TemplateLevel):
            return TemplateLevel.both
        return AnswerForm.letter if isinstance(value, AnswerForm) else " ".join(sorted(tags_in(value)))

    others = [item.name for item in dataclasses.fields(template) if item.name not in (*fields, "name")]
    return dataclasses.replace(template, **{name: unread(getattr(template, name)) for name in others})


def correcting_texts(arm: ArmConfig) -> tuple[str, ...]:
    """The fields of a template whose prompts ask for an arm's corrections."""
    return tuple(field for retry in dict.fromkeys(arm.retry) for field in RETRIED.get(retry, ()))
