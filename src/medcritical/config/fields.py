"""How a configuration field states its meaning and range, and how that is checked.

Fields have no default (``MISSING``): the one default of each key is in ``conf/``.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import MISSING

_BOUNDS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "gt": (operator.gt, "greater than"),
    "ge": (operator.ge, "at least"),
    "lt": (operator.lt, "less than"),
    "le": (operator.le, "at most"),
}


_NO_NEUTRAL = object()


def key(doc: str, *, semantic: bool = True, neutral: Any = _NO_NEUTRAL, **bounds: float) -> Any:
    """A required configuration field: `doc` is its meaning and unit, `bounds` any of gt, ge, lt, le.

    A field that is not `semantic` changes no result: a label, a place, a memory or speed setting. It is in no artefact's
    key. A value equal to `neutral` is left out of keys too: a field added later with the value that was in force before
    it changes no key that exists.
    """
    unknown = set(bounds) - set(_BOUNDS)
    if unknown:
        raise TypeError(f"unknown bounds {sorted(unknown)}")
    metadata = {"doc": doc, "bounds": bounds, **_in_keys(semantic, neutral)}
    return dataclasses.field(default=MISSING, metadata=metadata)


def sliced(*, semantic: bool = True, neutral: Any = _NO_NEUTRAL) -> Any:
    """A field of a stage's slice that enters keys as `key` says; its default is the neutral value, if it has one."""
    metadata = _in_keys(semantic, neutral)
    if neutral is _NO_NEUTRAL:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=neutral, metadata=metadata)


def is_in_key(field: dataclasses.Field[Any], value: Any) -> bool:
    """True when this value of the field is a part of artefacts' keys."""
    metadata = field.metadata
    return bool(metadata.get("semantic", True)) and not ("neutral" in metadata and metadata["neutral"] == value)


def _in_keys(semantic: bool, neutral: Any) -> dict[str, Any]:
    return {"semantic": semantic} if neutral is _NO_NEUTRAL else {"semantic": semantic, "neutral": neutral}


def range_faults(config: Any, prefix: str = "") -> Iterator[str]:
    """One sentence per value outside its range, naming key, value and what is allowed."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from range_faults(value, f"{name}.")
        elif isinstance(value, dict):
            for entry, item in value.items():
                if dataclasses.is_dataclass(item):
                    yield from range_faults(item, f"{name}.{entry}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            bounds = field.metadata.get("bounds", {})
            if not math.isfinite(value):
                yield f"{name}={value} is no finite number: it has no place in an artefact's key; give a number."
            elif not all(_BOUNDS[kind][0](value, bound) for kind, bound in bounds.items()):
                allowed = " and ".join(f"{_BOUNDS[kind][1]} {bound:g}" for kind, bound in bounds.items())
                yield f"{name}={value:g} is out of range: it must be {allowed}."
