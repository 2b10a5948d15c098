"""Comparing checkpoints with a baseline, question by question, and writing the comparison: for one run and for many."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from medcritical.config.stages import PublishedValue
from medcritical.evaluation.statistics import PairedDifference, holm, mcnemar_pooled, pooled_bootstrap, wilson_interval
from medcritical.records import Attempt
from medcritical.reporting.figures import accuracy_figure
from medcritical.reporting.markup import to_csv, to_markdown
from medcritical.reporting.pooling import Checkpoint, Difference, Pool, choose_baseline, distinct
from medcritical.reporting.summary import SummaryRow
from medcritical.reporting.tables import Table, bounds, percent
from medcritical.store import read_records
from medcritical.store.jsonl import write_atomically

SEED = 0  # of the bootstrap: the same runs print the same table


def measure_differences(
    pools: Sequence[Pool], baseline: str | None, reader: PredictionReader, resamples: int
) -> dict[Checkpoint, Difference]:
    """Accuracy of each distinct checkpoint minus its baseline's, paired by question and pooled over the seeds of both.

    The p value is that of `mcnemar_pooled`: a question counts once, by the sign of its gains over all seeds; with one
    seed it is McNemar's exact test. Holm's adjustment is over all differences that come back, that is over the table.
    A checkpoint is left out when it has no baseline, and so is a seed whose predictions are gone (`reader.missing`).
    """
    found: dict[Checkpoint, tuple[PairedDifference, float]] = {}
    for pool in distinct(pools):
        other = choose_baseline(pools, pool.checkpoint, baseline) if baseline is not None else None
        samples = reader.gains(pool, other) if other is not None else []
        if samples:
            pooled = pooled_bootstrap(samples, resamples, SEED, pool.rows[0].confidence)
            found[pool.checkpoint] = pooled, mcnemar_pooled(samples)
    adjusted = holm([p for _, p in found.values()])
    return {
        checkpoint: Difference(pooled.difference, pooled.low, pooled.high, p, p_holm)
        for (checkpoint, (pooled, p)), p_holm in zip(found.items(), adjusted, strict=True)
    }


def measure_intervals(
    pools: Sequence[Pool], reader: PredictionReader, resamples: int, confidence: float
) -> dict[Checkpoint, tuple[float, float]]:
    """Interval of each checkpoint's accuracy: Wilson's for one seed, over several a bootstrap over questions.

    A question is drawn with its answers of all seeds and the trained models are held fixed, as in `measure_differences`. Where
    all questions have one and the same share of right answers a bootstrap has no width, and Wilson's interval over the questions
    stands in. A checkpoint of several seeds is left out when the predictions of one are gone.
    """
    intervals: dict[Checkpoint, tuple[float, float]] = {}
    for pool in pools:
        if len(pool.rows) == 1:
            row = pool.rows[0]
            intervals[pool.checkpoint] = wilson_interval(row.num_correct, row.num_questions, confidence)
            continue
        samples = [{name: int(right) for name, right in reader.answers(row.artefact).items()} for row in pool.rows]
        if all(samples):
            pooled = pooled_bootstrap(samples, resamples, SEED, confidence)
            num_questions = len({name for sample in samples for name in sample})
            is_flat = pooled.low == pooled.high
            wilson = wilson_interval(round(pooled.difference * num_questions), num_questions, confidence)
            intervals[pool.checkpoint] = wilson if is_flat else (pooled.low, pooled.high)
    return intervals


class PredictionReader:
    """Right and wrong answers of scored checkpoints, read once each.

    Attributes:
        missing: artefacts that were asked for and have no predictions.
    """

    def __init__(self, predictions: Mapping[str, Path]) -> None:
        self.predictions = predictions
        self.missing: set[str] = set()
        self._answers: dict[str, dict[str, bool]] = {}

    def warn_of_missing(self) -> None:
        """Says on stderr, in one line, what could not be compared."""
        if self.missing:
            places = ", ".join(sorted(self.missing))
            print(f"warning: differences leave out what has no predictions any more: {places}", file=sys.stderr)

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


def published_table(values: Sequence[PublishedValue], rows: Sequence[SummaryRow]) -> Table:
    """A card a line: the published accuracy of a row, ours at its last iteration, and the settings of ours."""
    lines = []
    for value in values:
        ours = [row for row in rows if row.arm == value.arm][-1]
        interval = bounds(ours.ci_low, ours.ci_high, num_seeds=1)
        published = None if value.accuracy is None else f"{value.accuracy:.2f}"
        lines.append(
            (
                ours.title,
                value.fidelity,
                published,
                percent(ours.accuracy),
                interval,
                value.settings,
                value.source or None,
            )
        )
    header = ("row", "fidelity", "published %", "ours %", "interval", "settings of ours", "published in")
    return Table(header, tuple(lines), ("published: as its source states it, with its data and its judge; not ours",))


def write_report(folder: Path, rows: Sequence[SummaryRow], tables: Mapping[str, Table]) -> None:
    """Write NAME.md and NAME.csv of every table, and accuracy.png. Raises ArtefactError when the folder cannot be written."""
    for name, table in tables.items():
        write_atomically(folder / f"{name}.md", to_markdown(table).encode("utf-8"))
        write_atomically(folder / f"{name}.csv", to_csv(table).encode("utf-8"))
    accuracy_figure(rows, folder / "accuracy.png")
