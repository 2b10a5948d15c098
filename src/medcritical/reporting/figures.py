"""Figures as PNG: accuracy over iterations, and what DPO did to the preferences. Same rows, same bytes."""

from __future__ import annotations

import io
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcritical.reporting.fonts import choose_families
from medcritical.reporting.pooling import Checkpoint, Pool, pool_seeds
from medcritical.reporting.summary import SummaryRow
from medcritical.store.jsonl import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
GREY, DARK = "0.45", "0.15"
# Okabe and Ito's colours without yellow, dark ones first; marker and dashes tell the lines apart in greyscale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
# Rows of the curves figure: heading, and the metrics drawn in it with their labels.
METRICS = {
    "log-probability\n(nats)": {"train/chosen_logp": "chosen", "train/rejected_logp": "rejected"},
    "margin\n(nats)": {"train/margin": "margin"},
    "reward accuracy": {"train/reward_accuracy": "accuracy"},
}
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "0.92",
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "text.parse_math": False,  # a dollar sign in a title is a dollar sign
}


@dataclass(frozen=True)
class Curve:
    """One DPO training: the arm's printed name, its iteration, and metric rows with `step` and train/... keys."""

    title: str
    iteration: int
    rows: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Line:
    """One line of the accuracy figure: its label, the stage-1 checkpoint it starts from, its points by iteration."""

    label: str
    start: Pool | None
    points: tuple[Pool, ...]


@dataclass(frozen=True)
class LineEnd:
    """Where a line ends and what is written there; x is None for a line across the whole width."""

    label: str
    x: float | None
    y: float
    colour: str


def accuracy_figure(rows: Sequence[SummaryRow], path: Path) -> None:
    """Write accuracy against iteration (0: after stage 1), one line per arm, a panel per data set and split.

    Bars are the Wilson interval, or the range over several seeds. The untrained student and chance are level lines.
    Raises DataError as `pool_seeds` does, ArtefactError when the file cannot be written.
    """
    pools = pool_seeds(rows)
    panels = list(dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools))
    with _styled(_names(pools)):
        figure = _new_figure(6.8 * len(panels), 4.0)
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (data, split) in zip(all_axes, panels, strict=True):
            here = [pool for pool in pools if (pool.checkpoint.data, pool.checkpoint.split) == (data, split)]
            axes.set_title(f"{data} {split}")
            _draw_accuracy(axes, here)
        _save(figure, path)


def curves_figure(curves: Sequence[Curve], path: Path) -> None:
    """Write log-probabilities, margin and reward accuracy over optimizer steps: a column per arm, a row per quantity.

    Iterations of an arm follow one another on the step axis, parted by a line. A panel says so where its quantity was
    not logged: an arm without rejected responses has no margin. Raises ArtefactError when the file cannot be written.
    """
    titles = list(dict.fromkeys(curve.title for curve in curves))
    with _styled(titles):
        figure = _new_figure(1.2 + 3.2 * len(titles), 6.4)
        grid = figure.subplots(len(METRICS), len(titles), squeeze=False, sharex="col", sharey="row")
        for column, title in enumerate(titles):
            mine = sorted((curve for curve in curves if curve.title == title), key=lambda curve: curve.iteration)
            for axes, labels in zip(grid[:, column], METRICS.values(), strict=True):
                _draw_metrics(axes, mine, labels)
            grid[0, column].set_title(title)
            grid[-1, column].set_xlabel("optimizer step, iterations in turn")
        for axes, heading in zip(grid[:, 0], METRICS, strict=True):
            axes.set_ylabel(heading)
        _save(figure, path)


def accuracy_lines(pools: Sequence[Pool]) -> list[Line]:
    """The lines of one panel, without the untrained student.

    An arm that begins at iteration 1 starts from its run's stage-1 checkpoint, where there is exactly one; that
    checkpoint is then no line of its own.
    """
    arms: dict[tuple[str, str, float | None], list[Pool]] = {}
    for pool in pools:
        if not is_untrained(pool):
            arms.setdefault((pool.checkpoint.run, pool.checkpoint.arm, pool.checkpoint.beta), []).append(pool)
    several_runs = len({run for run, _, _ in arms}) > 1
    num_betas = Counter((run, arm) for run, arm, _ in arms)
    lines = []
    for (run, arm, beta), points in arms.items():
        starts = [p for (r, _, _), others in arms.items() if r == run for p in others if p.checkpoint.iteration == 0]
        label = points[0].title
        label += f", beta {beta:g}" if num_betas[run, arm] > 1 and beta is not None else ""
        label += f" ({run})" if several_runs else ""
        is_started = points[0].checkpoint.iteration > 0 and len(starts) == 1
        lines.append(Line(label, starts[0] if is_started else None, tuple(points)))
    started = [line.start for line in lines]
    return [line for line in lines if line.points[0] not in started]


def spread_labels(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved as little as needed to be `gap` apart, order kept: labels at the ends of lines must not overlap.

    Labels that touch form a block around the mean of what its members wanted.
    """
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    blocks: list[list[int]] = []

    def bottom(block: list[int]) -> float:
        return sum(heights[index] for index in block) / len(block) - gap * (len(block) - 1) / 2

    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and bottom(blocks[-1]) < bottom(blocks[-2]) + gap * len(blocks[-2]):
            last = blocks.pop()
            blocks[-1] += last
    moved = list(heights)
    for block in blocks:
        for place, index in enumerate(block):
            moved[index] = bottom(block) + gap * place
    return moved


def is_untrained(pool: Pool) -> bool:
    """True for the student before any training."""
    return pool.rows[0].stage == "base"


def _draw_accuracy(axes: Axes, pools: Sequence[Pool]) -> None:
    lines = accuracy_lines(pools)
    last = max(pool.checkpoint.iteration for pool in pools)
    ends: list[LineEnd] = []
    for number, (line, look) in enumerate(zip(lines, _looks(), strict=False)):
        ends.append(_draw_line(axes, line, look, shift=0.05 * (number - (len(lines) - 1) / 2)))
    for start in {line.start.checkpoint: line.start for line in lines if line.start is not None}.values():
        _draw_bars(axes, [start], [0.0], DARK)
        axes.plot([0.0], [100 * start.accuracy], color=DARK, marker="o")
    ends += [_draw_level(axes, pool.accuracy, pool.title, ":") for pool in pools if is_untrained(pool)]
    rows = [row for pool in pools for row in pool.rows]
    ends.append(_draw_level(axes, sum(row.chance for row in rows) / len(rows), "chance", (0, (1, 3))))
    axes.set_xlim(-0.2, last + 0.2)
    axes.set_xticks(range(last + 1))
    axes.set_xlabel("iteration (0: after stage 1)")
    axes.set_ylabel("accuracy (%)")
    axes.margins(y=0.08)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], -2.0))
    _label_ends(axes, ends)


def _draw_line(axes: Axes, line: Line, look: Mapping[str, Any], shift: float) -> LineEnd:
    """Draw a line with bars, its points moved by `shift` iterations so that bars of several arms stand side by side."""
    x = [pool.checkpoint.iteration + shift for pool in line.points]
    y = [100 * pool.accuracy for pool in line.points]
    _draw_bars(axes, line.points, x, look["color"])
    if line.start is None:
        axes.plot(x, y, **look)
    else:
        axes.plot([0.0, *x], [100 * line.start.accuracy, *y], markevery=slice(1, None), **look)
    return LineEnd(line.label, x[-1], y[-1], look["color"])


def _draw_bars(axes: Axes, pools: Sequence[Pool], x: Sequence[float], colour: str) -> None:
    """Draw the bars of some points."""
    low, high = zip(*([100 * bound for bound in pool.spread] for pool in pools), strict=True)
    axes.vlines(x, low, high, colors=colour, linewidth=0.8)
    axes.plot([*x, *x], [*low, *high], linestyle="", marker="_", markersize=4.0, color=colour)


def _draw_level(axes: Axes, accuracy: float, label: str, dashes: Any) -> LineEnd:
    axes.axhline(100 * accuracy, color=GREY, linewidth=1.0, linestyle=dashes, zorder=1)
    return LineEnd(label, None, 100 * accuracy, GREY)


def _label_ends(axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Write each line's label at the right edge, as near to its end as the other labels allow."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    _, right = axes.get_xlim()
    for end, height in zip(ends, spread_labels([end.y for end in ends], 0.055 * (top - bottom)), strict=True):
        leader = {
            "arrowstyle": "-",
            "color": end.colour,
            "linewidth": 0.5,
            "relpos": (0.0, 0.5),  # from the label's left edge, not through its words
            "shrinkA": 0,
            "shrinkB": 3,
        }
        axes.annotate(
            end.label,
            xy=(right if end.x is None else end.x, end.y),
            xytext=(right + 0.03 * right, height),
            color=end.colour,
            verticalalignment="center",
            arrowprops=leader,
            annotation_clip=False,
        )


def _draw_metrics(axes: Axes, curves: Sequence[Curve], labels: Mapping[str, str]) -> None:
    """Draw metrics of one arm's iterations one after the other; `labels` maps a metric to its label in the legend."""
    ends = list(accumulate(max((row["step"] for row in curve.rows), default=0.0) for curve in curves))
    for start in ends[:-1]:
        axes.axvline(start, color="0.75", linewidth=0.8)
    for (name, label), look in zip(labels.items(), _looks(), strict=False):
        points: list[tuple[float, float]] = []
        for start, curve in zip([0.0, *ends], curves, strict=False):
            points += [(start + row["step"], row[name]) for row in curve.rows if name in row]
            points.append((math.nan, math.nan))  # lifts the pen between two iterations
        axes.plot(*zip(*points, strict=True), color=look["color"], linestyle=look["linestyle"], label=label)
    if not any(name in row for name in labels for curve in curves for row in curve.rows):
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color=GREY)
    elif len(labels) > 1:
        axes.legend(frameon=False, handlelength=2.6)


def _looks() -> Iterator[dict[str, Any]]:
    """Colour, marker and dashes of the first, second, ... line; dashes have another period, so pairs repeat late."""
    for colour, marker, dashes in zip(cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False):
        yield {"color": colour, "marker": marker, "linestyle": dashes}


def _names(pools: Iterable[Pool]) -> list[str]:
    """All text from rows that a figure may show."""
    keys: list[Checkpoint] = [pool.checkpoint for pool in pools]
    return [*(pool.title for pool in pools), *(key.run for key in keys), *(key.data for key in keys)]


@contextmanager
def _styled(labels: Iterable[str]) -> Iterator[None]:
    """The figures' own style on matplotlib's defaults, so that a user's matplotlibrc changes no byte."""
    import matplotlib
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # choose_families has said so once, with the remedy
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["font.family"] = choose_families(labels, installed)
        yield


def _new_figure(width: float, height: float) -> Figure:
    """A figure of its own, outside pyplot: no window, no state shared with other code. Inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})  # no version: same picture, same bytes
    write_atomically(path, content.getvalue())
