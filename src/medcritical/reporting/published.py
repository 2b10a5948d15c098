"""Published accuracies beside ours. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from medcritical.config.stages import PublishedValue
from medcritical.reporting.measuring import Measured
from medcritical.reporting.pooling import checkpoint_of
from medcritical.reporting.summary import SummaryRow
from medcritical.reporting.tables import Table, bounds, level, percent


def published_table(values: Sequence[PublishedValue], rows: Sequence[SummaryRow], measured: Measured) -> Table:
    """A card a line: the published accuracy of a row, ours at its last iteration, and the settings of ours."""
    lines = []
    for value in values:
        ours = [row for row in rows if row.arm == value.arm][-1]
        published = None if value.accuracy is None else f"{value.accuracy:.2f}"
        interval = bounds(measured.intervals.get(checkpoint_of(ours)))
        accuracies = (published, percent(ours.accuracy), interval)
        lines.append((ours.title, value.fidelity, *accuracies, value.settings, value.source or None))
    interval_heading = f"{level(measured.confidence)} over questions"
    header = ("row", "fidelity", "published %", "ours %", interval_heading, "settings of ours", "published in")
    return Table(header, tuple(lines), ("published: as its source states it, with its data and its judge; not ours",))
