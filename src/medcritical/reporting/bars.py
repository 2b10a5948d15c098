"""Bars: accuracy by slice, and what the pairs were made of from iteration to iteration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from medcritical.evaluation.scoring import SliceName, parts_of
from medcritical.records import Score
from medcritical.reporting.breakdown import scores_of
from medcritical.reporting.drawing import Look, assign_looks, legend_above, legend_height, new_figure, save, styled
from medcritical.reporting.measuring import Bounds
from medcritical.reporting.pooling import Checkpoint, Pool
from medcritical.reporting.summary import Results
from medcritical.reporting.trail import Iteration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SLICES = 30  # the rest, the smallest ones, are in the table alone
# Twelve, for a study has nine arms and more, and in greyscale hatching alone tells them apart.
HATCHES = ("", "///", "...", "xx", "\\\\\\", "---", "OO", "|||", "//..", "++", "**", "\\\\oo")
# Panels of the pair-quality figure: heading, key of quality.json, factor.
QUALITY_PANELS = (
    ("pairs", "pairs", 1),
    ("overlap of chosen and rejected (%)", "overlap", 100),
    ("length gap (words)", "length_gap_words", 1),
    ("sound chosen (%)", "sound_chosen", 100),
)


def slice_figure(
    results: Results, pools: Sequence[Pool], intervals: Mapping[tuple[Checkpoint, SliceName], Bounds], *paths: Path
) -> bool:
    """Write accuracy by slice as bars with the tables' intervals, arms side by side, a panel per data set; False without slices.

    `pools` has one pool per arm, beta and data set.
    """
    panels = {key: [pool for pool in pools if _data_of(pool) == key] for key in dict.fromkeys(map(_data_of, pools))}
    names = {key: largest_slices(results, here) for key, here in panels.items()}
    if not any(names.values()):
        return False
    labels = {pool.checkpoint: _label(pool, pools) for pool in pools}
    bars = assign_bars(labels.values())
    most_bars = max(len(names[key]) * len(panels[key]) for key in panels)
    with styled([*labels.values(), *(value for each in names.values() for pair in each for value in pair)]):
        from matplotlib.patches import Patch

        height = (
            1.2
            + max(1.6, 0.16 * most_bars + 0.25 * max(map(len, names.values())))
            + legend_height(len(bars), columns=2)
        )
        figure = new_figure(1.5 + 6.0 * len(panels), height)
        for axes, key in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.set_title(f"{key[0]} {key[1]}")
            for number, pool in enumerate(panels[key]):
                place = (number + 0.5) / len(panels[key]) - 0.5
                bar = {**bars[labels[pool.checkpoint]], "height": 0.8 / len(panels[key])}
                bounds = {name: intervals.get((pool.checkpoint, name)) for name in names[key]}
                _draw_slices(axes, scores_of(results, pool), bounds, 0.85 * place, bar)
            _label_slices(axes, names[key])
        handles = [Patch(**bar, edgecolor="white", label=label) for label, bar in bars.items()]
        legend_above(figure, handles, columns=2)
        save(figure, paths)
    return True


def assign_bars(names: Iterable[str]) -> dict[str, Look]:
    """Colour and hatching for each name; colours are those that `assign_looks` gives it."""
    looks = assign_looks(names)
    return {
        name: {"facecolor": look["color"], "hatch": hatch}
        for (name, look), hatch in zip(looks.items(), cycle(HATCHES), strict=False)
    }


def quality_figure(iterations: Sequence[Iteration], *paths: Path) -> bool:
    """Write what the pairs were made of against the iteration, a line per arm and beta, means over seeds; False without pairs."""
    betas = {each.row.beta for each in iterations if each.quality and each.row.beta is not None}
    runs = {each.row.run for each in iterations}
    lines: dict[str, dict[int, list[Iteration]]] = {}
    for each in iterations:
        if each.quality:
            label = each.row.title + (
                f", beta {each.row.beta:g}" if len(betas) > 1 and each.row.beta is not None else ""
            )
            label += f" ({each.row.run})" if len(runs) > 1 else ""
            lines.setdefault(label, {}).setdefault(each.row.iteration, []).append(each)
    if not lines:
        return False
    looks = assign_looks(lines)
    with styled(lines):
        from matplotlib.lines import Line2D

        figure = new_figure(10.0, 6.4 + legend_height(len(looks), columns=2))
        for axes, (heading, name, factor) in zip(figure.subplots(2, 2).flatten(), QUALITY_PANELS, strict=True):
            for label, by_iteration in lines.items():
                points = quality_points(by_iteration, name, factor)
                if points:
                    axes.plot(*zip(*points, strict=True), **looks[label])
            axes.set_title(heading)
            axes.set_xticks(sorted({number for by_iteration in lines.values() for number in by_iteration}))
            axes.set_xlabel("iteration")
        legend_above(figure, [Line2D([], [], label=label, **look) for label, look in looks.items()], columns=2)
        save(figure, paths)
    return True


def quality_points(
    by_iteration: Mapping[int, Sequence[Iteration]], name: str, factor: float
) -> list[tuple[int, float]]:
    """(iteration, mean over seeds) where every seed counted it: what is missing is no point."""
    points = []
    for number, members in sorted(by_iteration.items()):
        values = [each.quality.get(name) for each in members]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            points.append((number, factor * fmean(known)))
    return points


def largest_slices(results: Results, pools: Sequence[Pool]) -> list[SliceName]:
    """Names of the slices with most questions, at most MOST_SLICES of them, annotations together."""
    sizes: dict[SliceName, int] = {}
    for pool in pools:
        for score in scores_of(results, pool):
            for part in score.slices:
                name = part.annotation, part.value
                sizes[name] = max(sizes.get(name, 0), part.num_questions)
    annotations = list(dict.fromkeys(annotation for annotation, _ in sizes))
    largest = sorted(sizes, key=lambda name: -sizes[name])[:MOST_SLICES]
    return sorted(largest, key=lambda name: (annotations.index(name[0]), -sizes[name]))


def _draw_slices(
    axes: Axes, scores: Sequence[Score], bounds: Mapping[SliceName, Bounds | None], shift: float, bar: Mapping[str, Any]
) -> None:
    """Draw one arm's bars, `shift` beside the middle of each slice; a slice that the arm was not scored on has none."""
    for number, (name, interval) in enumerate(bounds.items()):
        accuracies = [parts[name].accuracy for score in scores if name in (parts := parts_of(score))]
        if not accuracies:
            continue
        axes.barh(number + shift, 100 * fmean(accuracies), edgecolor="white", linewidth=0, **bar)
        if interval is not None:
            low, high = (100 * bound for bound in interval)
            for colour, width in (("white", 2.4), ("0.1", 0.9)):  # seen on a dark bar and beside it
                axes.plot([low, high], [number + shift] * 2, color=colour, linewidth=width)


def _label_slices(axes: Axes, names: Sequence[SliceName]) -> None:
    axes.set_yticks(range(len(names)), [f"{annotation}: {value}" for annotation, value in names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.set_xlabel("accuracy (%)")


def _data_of(pool: Pool) -> tuple[str, str]:
    return pool.checkpoint.data, pool.checkpoint.split


def _label(pool: Pool, pools: Sequence[Pool]) -> str:
    """Title, with beta and run where the pools of one data set differ in them."""
    key = pool.checkpoint
    here = [other.checkpoint for other in pools if _data_of(other) == _data_of(pool)]
    several_betas = len({other.beta for other in here if other.beta is not None}) > 1
    label = pool.title + (f", beta {key.beta:g}" if several_betas and key.beta is not None else "")
    return label + (f" ({key.run})" if len({other.run for other in here}) > 1 else "")
