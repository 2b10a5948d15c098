"""The templates that ship, and questions to put into them."""

import dataclasses

from configurations import REAL, configure
from medcritical.config.choices import TemplateLevel
from medcritical.config.schema import TemplateConfig
from medcritical.records import Question


def shipped() -> dict[str, TemplateConfig]:
    """Every template of conf/template, at every level."""
    found = [configure(f"template={name}").template for name in ("clinic", "two_level_en", "two_level_zh")]
    found += [configure(*REAL, f"template={name}").template for name in ("detailed_en", "paper_en", "paper_zh")]
    return {
        f"{template.name}-{level.value}": dataclasses.replace(template, level=level)
        for template in found
        for level in TemplateLevel
    }


TEMPLATES = shipped()


def question(stem: str = "Which drug?", **options: str) -> Question:
    """A train question; two harmless options unless some are given."""
    return Question(
        id="q1",
        stem=stem,
        options=options or {"A": "aspirin", "B": "digoxin"},
        answer=min(options or "A"),
        language="en",
        split="train",
        source="test",
    )
