"""Accuracy over iterations. Same rows, same bytes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcritical.reporting.drawing import (
    DARK,
    GREY,
    LineEnd,
    Look,
    assign_looks,
    height_for,
    label_ends,
    new_figure,
    save,
    styled,
)
from medcritical.reporting.measuring import Bounds
from medcritical.reporting.pooling import Checkpoint, Pool
from medcritical.reporting.summary import STAGE_1

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3  # panels beside each other
SPREAD = 0.36  # iterations; in it, at most, bars of several arms stand side by side


@dataclass(frozen=True)
class Line:
    """One line of the accuracy figure: its label, the stage-1 checkpoint it starts from, its points by iteration."""

    label: str
    start: Pool | None
    points: tuple[Pool, ...]


def accuracy_figure(pools: Sequence[Pool], intervals: Mapping[Checkpoint, Bounds], *paths: Path) -> None:
    """Write accuracy against iteration (0: after stage 1), one line per arm, a panel per data set, split and beta.

    Bars are the tables' intervals; a point without one has no bar. The untrained student and chance are level lines. Arms
    without a beta are in the panels of all betas. Each path ends in .png or .pdf.
    Raises ArtefactError when a file cannot be written.
    """
    panels = split_panels(pools)
    num_columns = min(len(panels), COLUMNS)
    num_rows = math.ceil(len(panels) / num_columns)
    lines = {heading: accuracy_lines(here) for heading, here in panels.items()}
    looks = assign_looks(line.label for each in lines.values() for line in each)
    with styled(names_in(pools)):
        most = max(len(lines[heading]) + len(_levels(here)) for heading, here in panels.items())
        longest = max((len(line.label) for each in lines.values() for line in each), default=0)
        figure = new_figure(max(6.8, 4.2 + 0.066 * longest) * num_columns, height_for(most) * num_rows)
        all_axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
        for axes, (heading, here) in zip(all_axes, panels.items(), strict=False):
            axes.set_title(heading)
            _draw_accuracy(axes, here, lines[heading], looks, intervals)
        for axes in all_axes[len(panels) :]:
            axes.remove()
        save(figure, paths)


def split_panels(pools: Sequence[Pool]) -> dict[str, list[Pool]]:
    """The pools of each panel by its heading: a data set and split, and one beta where there are several."""
    panels: dict[str, list[Pool]] = {}
    for data, split in dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools):
        here = [pool for pool in pools if (pool.checkpoint.data, pool.checkpoint.split) == (data, split)]
        betas = sorted({pool.checkpoint.beta for pool in here if pool.checkpoint.beta is not None})
        if len(betas) < 2:
            panels[f"{data} {split}"] = here
            continue
        for beta in betas:
            panels[f"{data} {split}, beta {beta:g}"] = [p for p in here if p.checkpoint.beta in (None, beta)]
    return panels


def accuracy_lines(pools: Sequence[Pool]) -> list[Line]:
    """The lines of one panel, without models that were not trained here.

    An arm that begins at iteration 1 starts from its run's stage-1 checkpoint, where that was scored; that checkpoint is
    then no line of its own, and a line that another run has as well is there once. Another way to ask the same
    checkpoint (a majority vote) starts nothing.
    """
    arms: dict[tuple[str, str, float | None], list[Pool]] = {}
    for pool in pools:
        if not is_untrained(pool):
            arms.setdefault((pool.checkpoint.run, pool.checkpoint.arm, pool.checkpoint.beta), []).append(pool)
    several_runs = len({run for run, _, _ in arms}) > 1
    num_betas = Counter((run, arm) for run, arm, _ in arms)
    lines = []
    for (run, arm, beta), points in arms.items():
        starts = arms.get((run, STAGE_1, None), [])
        label = points[0].title
        label += f", beta {beta:g}" if num_betas[run, arm] > 1 and beta is not None else ""
        label += f" ({run})" if several_runs else ""
        is_started = points[0].checkpoint.iteration > 0 and len(starts) == 1
        lines.append(Line(label, starts[0] if is_started else None, tuple(points)))
    started = {_shown(line.start) for line in lines if line.start is not None}
    several: dict[tuple[Hashable, ...], Line] = {}
    for line in lines:
        several.setdefault(_shown(*line.points), line)
    return [line for key, line in several.items() if key not in started]


def _shown(*pools: Pool) -> tuple[Hashable, ...]:
    """What a line shows, whichever run it is of."""
    return tuple(
        (replace(pool.checkpoint, run=""), *((row.replicate, row.artefact) for row in pool.rows)) for pool in pools
    )


def is_untrained(pool: Pool) -> bool:
    """True for models that were not trained here: the student before any training, and published ones."""
    return pool.rows[0].stage == "base"


def _draw_accuracy(
    axes: Axes,
    pools: Sequence[Pool],
    lines: Sequence[Line],
    looks: Mapping[str, Look],
    intervals: Mapping[Checkpoint, Bounds],
) -> None:
    last = max(pool.checkpoint.iteration for pool in pools)
    spread = min(SPREAD, 0.06 * (len(lines) - 1))
    ends: list[LineEnd] = []
    for number, line in enumerate(lines):
        shift = spread * (number / (len(lines) - 1) - 0.5) if len(lines) > 1 else 0.0
        ends.append(_draw_line(axes, line, looks[line.label], shift, intervals))
    for start in {line.start.checkpoint: line.start for line in lines if line.start is not None}.values():
        draw_bars(axes, [start], [0.0], DARK, intervals)
        axes.plot([0.0], [100 * start.accuracy], color=DARK, marker="o")
    axes.set_xlim(-0.1 - spread / 2, last + 0.1 + spread / 2)
    axes.set_xticks(range(last + 1))
    axes.set_xlabel("iteration (0: after stage 1)")
    axes.set_ylabel("accuracy (%)")
    axes.margins(y=0.08)
    label_ends(axes, ends + _draw_levels(axes, pools))


def _draw_levels(axes: Axes, pools: Sequence[Pool]) -> list[LineEnd]:
    """Draw the untrained student and chance as level lines. One far below all arms is named in a corner: drawn, it would
    press the arms together."""
    levels = _levels(pools)
    bottom, top = axes.get_ylim()
    near = [level for level in levels if not axes.lines or 100 * level[0] > bottom - 0.5 * (top - bottom)]
    if far := [level for level in levels if level not in near]:
        told = ", ".join(f"{label} {100 * accuracy:.1f} %" for accuracy, label, _ in far)
        axes.text(0.01, 0.02, f"below: {told}", transform=axes.transAxes, color=GREY, fontsize="small")
    return [_draw_level(axes, *level) for level in near]


def _levels(pools: Sequence[Pool]) -> list[tuple[float, str, Any]]:
    """Height, label and dashes of every level line."""
    rows = [row for pool in pools for row in pool.rows]
    untrained = dict.fromkeys((pool.accuracy, pool.title, ":") for pool in pools if is_untrained(pool))
    return [*untrained, (sum(row.chance for row in rows) / len(rows), "chance", (0, (1, 3)))]


def _draw_line(axes: Axes, line: Line, look: Look, shift: float, intervals: Mapping[Checkpoint, Bounds]) -> LineEnd:
    """Draw a line with bars, its points moved by `shift` iterations so that bars of several arms stand side by side."""
    x = [pool.checkpoint.iteration + shift for pool in line.points]
    y = [100 * pool.accuracy for pool in line.points]
    draw_bars(axes, line.points, x, look["color"], intervals)
    if line.start is None:
        axes.plot(x, y, **look)
    else:
        axes.plot([0.0, *x], [100 * line.start.accuracy, *y], markevery=slice(1, None), **look)
    return LineEnd(line.label, x[-1], y[-1], look["color"])


def draw_bars(
    axes: Axes, pools: Sequence[Pool], x: Sequence[float], colour: str, intervals: Mapping[Checkpoint, Bounds]
) -> None:
    """Draw the intervals of some points."""
    for place, pool in zip(x, pools, strict=True):
        if pool.checkpoint in intervals:
            low, high = intervals[pool.checkpoint]
            axes.vlines(place, 100 * low, 100 * high, colors=colour, linewidth=2.5, alpha=0.3)


def _draw_level(axes: Axes, accuracy: float, label: str, dashes: Any) -> LineEnd:
    axes.axhline(100 * accuracy, color=GREY, linewidth=1.0, linestyle=dashes, zorder=1)
    return LineEnd(label, None, 100 * accuracy, GREY)


def names_in(pools: Iterable[Pool]) -> list[str]:
    """All text from rows that a figure may show."""
    keys: list[Checkpoint] = [pool.checkpoint for pool in pools]
    return [*(pool.title for pool in pools), *(key.run for key in keys), *(key.data for key in keys)]
