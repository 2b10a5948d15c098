"""How all figures look, and how they are written: colours, dashes, fonts, labels at the ends of lines, PNG and PDF."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcritical.reporting.fonts import choose_families
from medcritical.store.jsonl import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Look = Mapping[str, Any]

DPI = 150
GREY, DARK = "0.45", "0.15"
# Okabe and Ito's colours without yellow, dark ones first; marker and dashes tell the lines apart in greyscale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
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
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "pdf.fonttype": 42,  # whole glyphs: journals refuse Type 3
}


@dataclass(frozen=True)
class LineEnd:
    """Where a line ends and what is written there; x is None for a line across the whole width."""

    label: str
    x: float | None
    y: float
    colour: str


def assign_looks(names: Iterable[str]) -> dict[str, Look]:
    """Colour, marker and dashes for each name, the same wherever the name is drawn: by first appearance."""
    unique = list(dict.fromkeys(names))
    return dict(zip(unique, islice(_looks(), len(unique)), strict=True))


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


def label_ends(axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Write each line's label at the right edge, as near to its end as the other labels allow."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    _, right = axes.get_xlim()
    gap = min(0.055, 0.95 / max(len(ends), 1)) * (top - bottom)
    for end, height in zip(ends, spread_labels([end.y for end in ends], gap), strict=True):
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
            color=DARK if end.x is not None else end.colour,  # pale colours are hard to read as text
            verticalalignment="center",
            arrowprops=leader,
            annotation_clip=False,
        )


def height_for(labels: int) -> float:
    """Inches of a panel with so many labels at its lines' ends, so that they lie one above another and not outside."""
    return max(4.4, 0.6 + 0.23 * labels)


def legend_height(entries: int, columns: int) -> float:
    """Inches that a legend above the panels takes beyond the five lines that every figure has room for."""
    return 0.19 * max(0, math.ceil(entries / columns) - 5)


def legend_above(figure: Figure, handles: Sequence[Any], *, columns: int) -> None:
    """A legend over all panels, where it lies on nothing."""
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


@contextmanager
def styled(labels: Iterable[str]) -> Iterator[None]:
    """The figures' own style on matplotlib's defaults, so that a user's matplotlibrc changes no byte."""
    import matplotlib
    from matplotlib import font_manager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells of every weight that a font has not
    installed = {font.name for font in font_manager.fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # choose_families has said so once, with the remedy
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["font.family"] = choose_families(labels, installed)
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, outside pyplot: no window, no state shared with other code. Inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, paths: Iterable[Path]) -> None:
    """Write a figure as what each name ends in, png or pdf. No time and no version: same picture, same bytes."""
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    for path in paths:
        content, kind = io.BytesIO(), path.suffix.removeprefix(".")
        figure.savefig(content, format=kind, dpi=DPI, metadata=metadata[kind])
        write_atomically(path, content.getvalue())


def _looks() -> Iterator[dict[str, Any]]:
    """Colour, marker and dashes of the first, second, ... line; dashes have another period, so pairs repeat late."""
    for colour, marker, dashes in zip(cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False):
        yield {"color": colour, "marker": marker, "linestyle": dashes}
