"""Bars: accuracy by slice, and what the pairs were made of from iteration to iteration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from medcritical.records import Score, Tally
from medcritical.reporting.breakdown import scores_of
from medcritical.reporting.drawing import assign_looks, legend_above, new_figure, save, styled
from medcritical.reporting.pooling import Pool
from medcritical.reporting.summary import Results
from medcritical.reporting.trail import Iteration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SLICES = 30  # the rest, the smallest ones, are in the table alone
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")
# Panels of the pair-quality figure: heading, key of quality.json, factor.
QUALITY_PANELS = (
    ("pairs", "pairs", 1),
    ("overlap of chosen and rejected (%)", "overlap", 100),
    ("length gap (words)", "length_gap_words", 1),
    ("sound chosen (%)", "sound_chosen", 100),
)

SliceName = tuple[str, str]


def slice_figure(results: Results, pools: Sequence[Pool], *paths: Path) -> bool:
    """Write accuracy by slice as bars with intervals, arms side by side, a panel per data set; False without slices.

    Intervals are Wilson's for one seed, the range over several. `pools` has one pool per arm, beta and data set.
    """
    data = list(dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools))
    panels = {key: [p for p in pools if (p.checkpoint.data, p.checkpoint.split) == key] for key in data}
    names = {key: largest_slices(results, here) for key, here in panels.items()}
    if not any(names.values()):
        return False
    labels = {id(pool): _label(pool, pools) for pool in pools}
    looks = assign_looks(labels.values())
    hatches = {label: HATCHES[number % len(HATCHES)] for number, label in enumerate(looks)}
    shown = [f"{annotation}: {value}" for each in names.values() for annotation, value in each]
    with styled([*labels.values(), *shown]):
        from matplotlib.patches import Patch

        bars = max(len(names[key]) * len(panels[key]) for key in data)
        figure = new_figure(1.5 + 6.0 * len(data), 1.2 + max(1.6, 0.16 * bars + 0.25 * max(map(len, names.values()))))
        for axes, key in zip(figure.subplots(1, len(data), squeeze=False)[0], data, strict=True):
            axes.set_title(f"{key[0]} {key[1]}")
            for number, pool in enumerate(panels[key]):
                label = labels[id(pool)]
                place = (number + 0.5) / len(panels[key]) - 0.5
                _draw_slices(axes, results, pool, names[key], place, 0.8 / len(panels[key]), looks[label]["color"], hatches[label])
            axes.set_yticks(range(len(names[key])), [f"{annotation}: {value}" for annotation, value in names[key]])
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            axes.grid(visible=True, axis="x")
            axes.set_xlabel("accuracy (%)")
        handles = [
            Patch(facecolor=look["color"], hatch=hatches[label], edgecolor="white", label=label)
            for label, look in looks.items()
        ]
        legend_above(figure, handles, columns=3)
        save(figure, paths)
    return True


def quality_figure(iterations: Sequence[Iteration], *paths: Path) -> bool:
    """Write what the pairs were made of against the iteration, a line per arm and beta, means over seeds; False without pairs."""
    betas = {each.row.beta for each in iterations if each.quality and each.row.beta is not None}
    runs = {each.row.run for each in iterations}
    lines: dict[str, dict[int, list[Iteration]]] = {}
    for each in iterations:
        if each.quality:
            label = each.row.title + (f", beta {each.row.beta:g}" if len(betas) > 1 and each.row.beta is not None else "")
            label += f" ({each.row.run})" if len(runs) > 1 else ""
            lines.setdefault(label, {}).setdefault(each.row.iteration, []).append(each)
    if not lines:
        return False
    looks = assign_looks(lines)
    with styled(lines):
        from matplotlib.lines import Line2D

        figure = new_figure(10.0, 6.4)
        for axes, (heading, name, factor) in zip(figure.subplots(2, 2).flatten(), QUALITY_PANELS, strict=True):
            for label, by_iteration in lines.items():
                points = quality_points(by_iteration, name, factor)
                if points:
                    axes.plot(*zip(*points, strict=True), **looks[label])
            axes.set_title(heading)
            axes.set_xticks(sorted({number for by_iteration in lines.values() for number in by_iteration}))
            axes.set_xlabel("iteration")
        legend_above(figure, [Line2D([], [], label=label, **look) for label, look in looks.items()], columns=3)
        save(figure, paths)
    return True


def quality_points(by_iteration: dict[int, list[Iteration]], name: str, factor: float) -> list[tuple[int, float]]:
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
    axes: Axes,
    results: Results,
    pool: Pool,
    names: Sequence[SliceName],
    place: float,
    height: float,
    colour: str,
    hatch: str,
) -> None:
    """Draw one arm's bars; a slice that the arm was not scored on has none."""
    for number, name in enumerate(names):
        tallies = [tally for score in scores_of(results, pool) if (tally := _part(score, name)) is not None]
        if not tallies:
            continue
        accuracies = [tally.accuracy for tally in tallies]
        is_single = len(tallies) == 1
        low, high = (tallies[0].ci_low, tallies[0].ci_high) if is_single else (min(accuracies), max(accuracies))
        y = number + 0.85 * place
        axes.barh(y, 100 * fmean(accuracies), height=height, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
        axes.plot([100 * low, 100 * high], [y, y], color="0.1", linewidth=0.9)


def _part(score: Score, name: SliceName) -> Tally | None:
    return next((part for part in score.slices if (part.annotation, part.value) == name), None)


def _label(pool: Pool, pools: Sequence[Pool]) -> str:
    several_betas = len({each.checkpoint.beta for each in pools if each.checkpoint.beta is not None}) > 1
    several_runs = len({each.checkpoint.run for each in pools}) > 1
    label = pool.title
    label += f", beta {pool.checkpoint.beta:g}" if several_betas and pool.checkpoint.beta is not None else ""
    return label + (f" ({pool.checkpoint.run})" if several_runs else "")
