"""A question as a row states it, before the checks that all formats share, and typed access to a row's fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medcritical.data.normalise import is_placeholder
from medcritical.data.report import RejectedRow, quote


@dataclass(frozen=True)
class Draft:
    """What a format's parser read; texts as upstream wrote them.

    `answer` is letters in any written form, empty without an answer. `answer_text` repeats the right option where the
    format does. `id` is upstream's; `has_final_id` keeps it without the source's name before it. `language` and
    `source` are those of the row, where it has them.
    """

    stem: str
    options: dict[str, str]
    answer: str
    answer_text: str = ""
    id: str = ""
    has_final_id: bool = False
    explanation: str = ""
    language: str = ""
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


def text_field(cells: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    """The text under `name`; empty when it is absent or null.

    Raises:
        RejectedRow: it is no text, or is required and absent.
    """
    value = cells.get(name)
    if value is None:
        if required:
            raise RejectedRow(f"no {name}")
        return ""
    if not isinstance(value, str):
        raise RejectedRow(f"{name} is not text", quote(value))
    return value


def list_field(cells: Mapping[str, Any], name: str) -> list[str]:
    """The list of texts under `name`.

    Raises:
        RejectedRow: it is anything else.
    """
    value = cells.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RejectedRow(f"{name} is not a list of texts", quote(value))
    return value


def meta_of(cells: Mapping[str, Any], slices: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Annotations by our name: for each slice the first of upstream's columns that says something."""
    found = {
        name: next((str(cells[column]) for column in columns if not _is_empty(cells.get(column))), "")
        for name, columns in slices.items()
    }
    return {name: text.strip() for name, text in found.items() if text}


def _is_empty(value: Any) -> bool:
    return value is None or is_placeholder(str(value))
