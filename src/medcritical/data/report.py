"""What a loader did with a file: counts, and a reason for every record that is not among the questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ALL_REJECTED = "`medcritical data check FILE --format F --json` has them all"


class SkippedRow(Exception):
    """SkippedRow(reason, detail): a sound record that is of no use, as without an answer. Stays in this package."""


class RejectedRow(Exception):
    """RejectedRow(reason, detail): a record that contradicts itself or its format. Stays in this package."""


class Fault(NamedTuple):
    """Why one record was left out: `reason` is what records are counted by, `detail` names the values."""

    record: int
    reason: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        """Reason and detail in one line."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


def quote(value: object) -> str:
    """`value` for a message: escaped, so that data cannot steer a terminal, and at most 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


@dataclass
class LoadReport:
    """Counts of one file. Records are numbered as in the file, from 1; blank lines are not read but counted.

    `read` is accepted + skipped + rejected. `normalised` counts sound records, duplicates too, by what was changed.
    """

    path: str
    read: int = 0
    accepted: int = 0
    normalised: Counter[str] = field(default_factory=Counter)
    skipped: list[Fault] = field(default_factory=list)
    rejected: list[Fault] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "path": self.path,
            "read": self.read,
            "accepted": self.accepted,
            "normalised": dict(sorted(self.normalised.items())),
            "skipped": [{"record": fault.record, "reason": fault.sentence} for fault in self.skipped],
            "rejected": [{"record": fault.record, "reason": fault.sentence} for fault in self.rejected],
        }

    def lines(self, most: int, *, rest: str) -> list[str]:
        """The report for a terminal: totals, counts by kind, and the first `most` rejected records.

        `rest` says where the others can be read.
        """
        totals = (
            f"{self.path}: {self.read} records read, {self.accepted} accepted, "
            f"{len(self.skipped)} skipped, {len(self.rejected)} rejected"
        )
        lines = [totals]
        lines += [f"  normalised {count:>6}  {kind}" for kind, count in self.normalised.most_common()]
        lines += [f"  skipped    {count:>6}  {reason}" for reason, count in count_reasons(self.skipped).most_common()]
        lines += [f"  rejected   record {fault.record}: {fault.sentence}" for fault in self.rejected[:most]]
        if len(self.rejected) > most:
            lines.append(f"  rejected   {len(self.rejected) - most} more: {rest}")
        return lines


def count_reasons(faults: Iterable[Fault]) -> Counter[str]:
    """Number of records per reason."""
    return Counter(fault.reason for fault in faults)
