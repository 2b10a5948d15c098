"""Accuracy against what was chosen or spent: beta, teacher tokens, student tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcritical.reporting.crossover import AXES, compare_lines, cost_points, height_at
from medcritical.reporting.drawing import (
    DARK,
    Look,
    assign_looks,
    legend_above,
    legend_height,
    new_figure,
    save,
    styled,
)
from medcritical.reporting.figures import Line, accuracy_lines, draw_bars, names_in
from medcritical.reporting.measuring import Bounds
from medcritical.reporting.pooling import Checkpoint, Pool

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

BESIDE = 1.015  # factor on beta by which the bars of an iteration stand beside those of the one before


def beta_figure(pools: Sequence[Pool], intervals: Mapping[Checkpoint, Bounds], *paths: Path) -> bool:
    """Write accuracy against beta, a line per iteration, a panel per arm and data set; False where no arm has two betas.

    Bars are the tables' intervals. Beta is on a logarithmic axis, marked where it was tried.
    """
    panels: dict[tuple[str, str, str, str], list[Pool]] = {}
    for pool in pools:
        key = pool.checkpoint
        if key.beta is not None:
            panels.setdefault((pool.title, key.run, key.data, key.split), []).append(pool)
    panels = {key: here for key, here in panels.items() if len({pool.checkpoint.beta for pool in here}) > 1}
    if not panels:
        return False
    iterations = sorted({pool.checkpoint.iteration for here in panels.values() for pool in here})
    looks = assign_looks(f"iteration {number}" for number in iterations)
    with styled(names_in(pools)):
        figure = new_figure(1.0 + 4.2 * len(panels), 3.8)
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, ((title, _, data, split), here) in zip(all_axes, panels.items(), strict=True):
            axes.set_title(f"{title}, {data} {split}")
            _draw_betas(axes, here, looks, intervals)
        all_axes[0].set_ylabel("accuracy (%)")
        _add_legend(figure, looks, columns=len(looks))
        save(figure, paths)
    return True


def cost_figure(pools: Sequence[Pool], *paths: Path) -> bool:
    """Write accuracy against teacher and student tokens, a line per arm from stage 1 on, a row per data set.

    A ring marks where two lines cross. False where no arm recorded its tokens.
    """
    data = list(dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools))
    lines = {
        key: accuracy_lines([pool for pool in pools if (pool.checkpoint.data, pool.checkpoint.split) == key])
        for key in data
    }
    every = [line for each in lines.values() for line in each]
    drawn = [line for line in every if any(cost_points(line, field) for field in AXES.values())]
    if not drawn:
        return False
    looks = assign_looks(line.label for line in drawn)
    with styled(names_in(pools)):
        figure = new_figure(9.6, 0.6 + 3.6 * len(data) + legend_height(len(looks), columns=2))
        grid = figure.subplots(len(data), len(AXES), squeeze=False, sharey="row")
        for row, ((name, split), mine) in zip(grid, lines.items(), strict=True):
            for axes, (heading, field) in zip(row, AXES.items(), strict=True):
                _draw_costs(axes, mine, field, looks)
                axes.set_xlabel(f"{heading}, written in all")
            row[0].set_ylabel("accuracy (%)")
            row[0].set_title(f"{name} {split}")
        _add_legend(figure, looks, columns=2)
        save(figure, paths)
    return True


def _draw_betas(
    axes: Axes, pools: Sequence[Pool], looks: Mapping[str, Look], intervals: Mapping[Checkpoint, Bounds]
) -> None:
    betas = sorted({pool.checkpoint.beta for pool in pools if pool.checkpoint.beta is not None})
    for place, number in enumerate(sorted({pool.checkpoint.iteration for pool in pools})):
        mine = [pool for pool in pools if pool.checkpoint.iteration == number]
        x = [(pool.checkpoint.beta or 0.0) * BESIDE**place for pool in mine]
        look = looks[f"iteration {number}"]
        draw_bars(axes, mine, x, look["color"], intervals)
        axes.plot(x, [100 * pool.accuracy for pool in mine], **look)
    axes.set_xscale("log")
    axes.set_xticks(betas, [f"{beta:g}" for beta in betas])
    axes.minorticks_off()
    axes.set_xlabel("beta (1 / nats)")


def _draw_costs(axes: Axes, lines: Sequence[Line], field: str, looks: Mapping[str, Look]) -> None:
    points = {line.label: cost_points(line, field) for line in lines}
    for label, mine in points.items():
        if mine:
            axes.plot([x for x, _ in mine], [100 * y for _, y in mine], **looks[label])
    labels = list(points)
    for place, first in enumerate(labels):
        for second in labels[place + 1 :]:
            found = compare_lines(points[first], points[second])
            for x in () if found is None else found.crossings:
                axes.plot(
                    [x], [100 * height_at(points[first], x)], color=DARK, marker="o", fillstyle="none", markersize=9.0
                )
    axes.ticklabel_format(axis="x", style="plain")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_locator(_few_ticks())


def _few_ticks() -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4)


def _add_legend(figure: Figure, looks: Mapping[str, Look], *, columns: int) -> None:
    from matplotlib.lines import Line2D

    legend_above(figure, [Line2D([], [], label=label, **look) for label, look in looks.items()], columns=columns)
