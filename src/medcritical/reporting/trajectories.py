"""What DPO did to the preferences: log-probabilities, margin and reward accuracy over optimizer steps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from medcritical.reporting.drawing import GREY, Look, assign_looks, legend_above, new_figure, save, styled
from medcritical.reporting.trail import Iteration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, float]

# Rows of panels: heading, and the metrics drawn in it with their labels.
METRICS = {
    "log-probability\n(nats)": {"train/chosen_logp": "chosen", "train/rejected_logp": "rejected"},
    "margin\n(nats)": {"train/margin": "margin"},
    "reward accuracy": {"train/reward_accuracy": "reward accuracy"},
}
WIDTH = 44  # characters of a title over one panel
LABELS = {metric: label for labels in METRICS.values() for metric, label in labels.items()}


@dataclass(frozen=True)
class Curve:
    """One DPO training: the arm's printed name, its iteration, and metric rows with `step` and train/... keys.

    Curves of one title and iteration are seeds of one training.
    """

    title: str
    iteration: int
    rows: Sequence[Row]


def curves_figure(curves: Sequence[Curve], *paths: Path) -> None:
    """Write log-probabilities, margin and reward accuracy over optimizer steps: a column per arm, a row per quantity.

    Iterations of an arm follow one another on the step axis, parted by a line. Of several seeds the mean is drawn, and the
    seeds as faint lines. A panel says so where its quantity was not logged: an arm without rejected responses has no margin.
    Each path ends in .png or .pdf. Raises ArtefactError when a file cannot be written.
    """
    titles = list(dict.fromkeys(curve.title for curve in curves))
    looks = assign_looks(LABELS)
    with styled(titles):
        from matplotlib.lines import Line2D

        figure = new_figure(1.2 + 3.2 * len(titles), 6.4)
        grid = figure.subplots(len(METRICS), len(titles), squeeze=False, sharex="col", sharey="row")
        for column, title in enumerate(titles):
            mine = [curve for curve in curves if curve.title == title]
            for axes, metrics in zip(grid[:, column], METRICS.values(), strict=True):
                _draw_metrics(axes, mine, list(metrics), looks)
            grid[0, column].set_title(textwrap.fill(title, WIDTH))
            grid[-1, column].set_xlabel("optimizer step, iterations in turn")
        for axes, heading in zip(grid[:, 0], METRICS, strict=True):
            axes.set_ylabel(heading)
        handles = [Line2D([], [], label=label, **_stroke(looks[name])) for name, label in LABELS.items()]
        legend_above(figure, handles, columns=2 if len(titles) == 1 else len(handles))
        save(figure, paths)


def group_curves(iterations: Sequence[Iteration]) -> dict[str, list[Curve]]:
    """The curves of each figure by its name: all in `curves`, or one figure for each of several betas.

    An arm without a beta stands beside every beta. What was not trained on preferences has no curve.
    """
    betas = sorted({each.row.beta for each in iterations if each.row.beta is not None})
    several_runs = len({each.row.run for each in iterations}) > 1
    found: dict[str, list[Curve]] = {}
    for beta in betas:
        name = f"curves-beta-{beta:g}" if len(betas) > 1 else "curves"
        for each in iterations:
            rows = [row for training in each.trainings for row in training.rows]
            if each.row.beta in (None, beta) and any("train/margin" in row for row in rows):
                title = f"{each.row.title} ({each.row.run})" if several_runs else each.row.title
                found.setdefault(name, []).append(Curve(title, each.row.iteration, rows))
    return found


def mean_rows(seeds: Sequence[Sequence[Row]]) -> list[dict[str, float]]:
    """Mean of every metric over seeds, at the steps and of the metrics that all of them logged."""
    by_step = [{row["step"]: row for row in rows} for rows in seeds]
    common = [step for step in by_step[0] if all(step in rows for rows in by_step)]
    return [
        {
            name: fmean(rows[step][name] for rows in by_step)
            for name in by_step[0][step]
            if all(name in rows[step] for rows in by_step)
        }
        for step in sorted(common)
    ]


def _draw_metrics(axes: Axes, curves: Sequence[Curve], metrics: Sequence[str], looks: Mapping[str, Look]) -> None:
    """Draw metrics of one arm's iterations one after the other: their mean over seeds, and faintly the seeds."""
    seeds: dict[int, list[Sequence[Row]]] = {}
    for curve in sorted(curves, key=lambda each: each.iteration):
        seeds.setdefault(curve.iteration, []).append(curve.rows)
    ends = list(accumulate(max((row["step"] for rows in each for row in rows), default=0.0) for each in seeds.values()))
    for start in ends[:-1]:
        axes.axvline(start, color="0.75", linewidth=0.8)
    if not any(name in row for name in metrics for curve in curves for row in curve.rows):
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color=GREY)
        return
    for name in metrics:
        means: list[tuple[float, float]] = []
        for start, each in zip([0.0, *ends], seeds.values(), strict=False):
            points = [_points(rows, name, start) for rows in each]
            means += [*_points(mean_rows(each), name, start), (math.nan, math.nan)]  # nan lifts the pen
            for seed in points if len(points) > 1 else ():
                axes.plot(*zip(*seed, strict=True), color=looks[name]["color"], linewidth=0.5, alpha=0.5)
        axes.plot(*zip(*means, strict=True), **_stroke(looks[name]))


def _points(rows: Sequence[Row], name: str, start: float) -> list[tuple[float, float]]:
    return [(start + row["step"], row[name]) for row in rows if name in row] or [(math.nan, math.nan)]


def _stroke(look: Look) -> Look:
    """A look without its marker: one at every logged step would hide the line."""
    return {"color": look["color"], "linestyle": look["linestyle"]}
