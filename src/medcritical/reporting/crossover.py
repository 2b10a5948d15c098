"""Accuracy against what it cost: the lines of arms over tokens, and where one overtakes another. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from medcritical.reporting.figures import Line, accuracy_lines
from medcritical.reporting.pooling import Pool
from medcritical.reporting.sourced import Cell, SourcedTable, from_cells
from medcritical.reporting.summary import STAGE_1

AXES = {"teacher tokens": "teacher_tokens", "student tokens": "student_tokens"}
"""Heading of an axis, and the field of a row that it shows."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Two lines over the tokens that both reach: how far the first is ahead where they first differ, 0 where they never do,
    and at which tokens they cross."""

    lead: float
    low: float
    high: float
    crossings: tuple[float, ...]


def cost_points(line: Line, field: str) -> list[Point]:
    """(mean tokens over seeds, mean accuracy) of a line from where it starts, by rising tokens; none if unrecorded.

    None either for another way to ask the stage-1 model (a majority vote): what it spends, it spends on every question asked.
    """
    first = line.points[0].checkpoint
    if first.iteration == 0 and first.arm != STAGE_1:
        return []
    pools = [*([line.start] if line.start is not None else []), *line.points]
    points = [(pool.mean(getattr(row, field) for row in pool.rows), pool.accuracy) for pool in pools]
    return sorted((tokens, accuracy) for tokens, accuracy in points if tokens is not None)


def compare_lines(first: Sequence[Point], second: Sequence[Point]) -> Comparison | None:
    """How two piecewise linear lines lie to each other; None where they share no range of tokens."""
    if not first or not second:
        return None
    low, high = max(first[0][0], second[0][0]), min(first[-1][0], second[-1][0])
    if not low < high:
        return None
    inner = sorted({low, high, *(x for x, _ in (*first, *second) if low < x < high)})
    gaps = [height_at(first, x) - height_at(second, x) for x in inner]
    crossings: list[float] = []
    sign = 0.0
    for number, gap in enumerate(gaps):
        if gap * sign < 0:
            before, x_before = gaps[number - 1], inner[number - 1]
            crossings.append(x_before + (inner[number] - x_before) * before / (before - gap))
        sign = gap or sign
    return Comparison(next((gap for gap in gaps if gap), 0.0), low, high, tuple(crossings))


def crossover_table(pools: Sequence[Pool]) -> SourcedTable:
    """One line per data set, axis and pair of arms that share a range of tokens: who is ahead, and where that changes."""
    lines = []
    for data, split in dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools):
        here = [pool for pool in pools if (pool.checkpoint.data, pool.checkpoint.split) == (data, split)]
        for first, second in itertools.combinations(accuracy_lines(here), 2):
            for axis, field in AXES.items():
                found = compare_lines(cost_points(first, field), cost_points(second, field))
                if found is not None:
                    sources = tuple(
                        row.artefact for line in (first, second) for pool in line.points for row in pool.rows
                    )
                    names = [Cell(text) for text in (f"{data} {split}", first.label, second.label, axis)]
                    lines.append([*names, *(Cell(text, sources) for text in _told(found, first, second))])
    notes = ("lines between the mean scores of iterations; crossover: tokens written at which the lines meet",)
    return from_cells(("data", "arm", "other arm", "axis", "ahead at first", "range", "crossover"), lines, notes)


def _told(found: Comparison, first: Line, second: Line) -> list[str]:
    ahead = first.label if found.lead > 0 else second.label if found.lead < 0 else "neither"
    crossings = ", ".join(f"{x:,.0f}" for x in found.crossings) or "none"
    return [ahead, f"{found.low:,.0f} … {found.high:,.0f}", crossings]


def height_at(points: Sequence[Point], x: float) -> float:
    """The line's value at x, which it covers; the last of several points at one x."""
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 <= x < x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]
