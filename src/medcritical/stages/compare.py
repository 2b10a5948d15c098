"""Comparing checkpoints with a baseline, question by question, and writing the comparison: for one run and for many."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from medcritical.evaluation.statistics import pooled_bootstrap
from medcritical.records import Attempt
from medcritical.reporting.figures import accuracy_figure
from medcritical.reporting.pooling import Checkpoint, Difference, Pool, choose_baseline
from medcritical.reporting.summary import SummaryRow
from medcritical.reporting.tables import Table, to_csv, to_markdown
from medcritical.store import read_records
from medcritical.store.jsonl import write_atomically

SEED = 0  # of the bootstrap: the same runs print the same table


def measure_differences(
    pools: Sequence[Pool], baseline: str | None, predictions: Mapping[str, Path], resamples: int
) -> dict[Checkpoint, Difference]:
    """Accuracy of each checkpoint minus its baseline's, paired by question and pooled over the seeds of both.

    A checkpoint is left out when it has no baseline; seeds whose predictions are gone are left out with one warning.
    """
    reader = PredictionReader(predictions)
    differences = {}
    for pool in pools:
        other = choose_baseline(pools, pool.checkpoint, baseline) if baseline is not None else None
        samples = reader.gains(pool, other) if other is not None else []
        if samples:
            pooled = pooled_bootstrap(samples, resamples, SEED, pool.rows[0].confidence)
            differences[pool.checkpoint] = Difference(pooled.difference, pooled.low, pooled.high)
    if reader.missing:
        places = ", ".join(sorted(reader.missing))
        print(f"warning: differences leave out what has no predictions any more: {places}", file=sys.stderr)
    return differences


class PredictionReader:
    """Right and wrong answers of scored checkpoints, read once each.

    Attributes:
        missing: artefacts that were asked for and have no predictions.
    """

    def __init__(self, predictions: Mapping[str, Path]) -> None:
        self.predictions = predictions
        self.missing: set[str] = set()
        self._answers: dict[str, dict[str, bool]] = {}

    def answers(self, artefact: str) -> dict[str, bool]:
        """Question id -> whether it was answered right; empty when the predictions are gone."""
        if artefact not in self._answers:
            path = self.predictions.get(artefact)
            if path is None:
                self.missing.add(artefact)
            attempts = [] if path is None else read_records(path, Attempt)
            self._answers[artefact] = {attempt.question.id: attempt.is_correct for attempt in attempts}
        return self._answers[artefact]

    def gains(self, pool: Pool, other: Pool) -> list[dict[str, int]]:
        """Per seed that both pools have: question id -> right answers of `pool` minus those of `other` (-1, 0 or 1)."""
        baselines = {row.seed: row for row in other.rows}
        samples = []
        for row in pool.rows:
            if row.seed in baselines:
                ours, theirs = self.answers(row.artefact), self.answers(baselines[row.seed].artefact)
                gains = {question: ours[question] - theirs[question] for question in ours if question in theirs}
                samples += [gains] if gains else []
        return samples


def write_report(folder: Path, rows: Sequence[SummaryRow], results: Table, costs: Table) -> None:
    """Write table.md, table.csv, costs.md and accuracy.png. Raises ArtefactError when the folder cannot be written."""
    for name, text in (
        ("table.md", to_markdown(results)),
        ("table.csv", to_csv(results)),
        ("costs.md", to_markdown(costs)),
    ):
        write_atomically(folder / name, text.encode("utf-8"))
    accuracy_figure(rows, folder / "accuracy.png")
