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


def key(doc: str, *, machine: bool = False, **bounds: float) -> Any:
    """A required configuration field: `doc` is its meaning and unit, `bounds` any of gt, ge, lt, le.

    `machine` says where or how fast something is done and not what comes out: it is left out of artefacts' keys.
    """
    unknown = set(bounds) - set(_BOUNDS)
    if unknown:
        raise TypeError(f"unknown bounds {sorted(unknown)}")
    return dataclasses.field(default=MISSING, metadata={"doc": doc, "bounds": bounds, "machine": machine})


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
