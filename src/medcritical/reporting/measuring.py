"""What is measured question by question: accuracies and differences of checkpoints, with intervals and tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean

from medcritical.evaluation.scoring import SliceName, parts_of, slices_of
from medcritical.evaluation.statistics import (
    PairedDifference,
    Samples,
    accuracy_interval,
    holm,
    paired_difference,
    wilson_interval,
)
from medcritical.records import Attempt
from medcritical.reporting.pooling import (
    Checkpoint,
    Pool,
    choose_baseline,
    distinct,
    group_replicates,
    last_iterations,
    pool_seeds,
)
from medcritical.reporting.summary import Replicate, Results
from medcritical.store import read_records

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """Accuracy minus the baseline's, as a share of questions, with the bounds of its interval.

    `num_seeds` replicates or groups of them were compared, those of one and the same two scorings once: with one of them `p` is
    of McNemar's exact test, with several of a t test that counts seeds and questions, unless they have one and the same mean
    (`is_flat`). `p_holm` is adjusted for all comparisons of the table. `num_unpaired` questions count on one side alone and are
    not in it: those that a judge left open there (`evaluation.count_undecided=false`).
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float
    num_seeds: int
    is_flat: bool = False
    num_unpaired: int = 0


@dataclass(frozen=True)
class Measured:
    """What tables and figures show of runs beside counts and means.

    Attributes:
        confidence: level of all intervals.
        baseline: arm that differences are taken to; None for none.
        differences, main_differences: of all checkpoints, and of each arm's last; p values adjusted over each of the two.
        intervals: of accuracies. One that is missing has several seeds and lost the predictions of one.
        slice_intervals: of accuracies on slices, likewise.
        missing: the cells that have no result.
    """

    confidence: float
    baseline: str | None
    differences: Mapping[Checkpoint, Difference]
    main_differences: Mapping[Checkpoint, Difference]
    intervals: Mapping[Checkpoint, Bounds]
    slice_intervals: Mapping[tuple[Checkpoint, SliceName], Bounds]
    missing: Sequence[str] = ()


def measure(
    results: Results, baseline: str | None, confidence: float, reader: PredictionReader, missing: Sequence[str] = ()
) -> Measured:
    """Everything that tables and figures need, from counts where they are enough, else from predictions.

    Raises DataError as `pool_seeds` does.
    """
    pools = pool_seeds(results.rows)
    last = last_iterations(pools)
    return Measured(
        confidence=confidence,
        baseline=baseline,
        differences=measure_differences(pools, baseline, reader, confidence),
        main_differences=measure_differences(last, baseline, reader, confidence),
        intervals=measure_intervals(pools, reader, confidence),
        slice_intervals=measure_slices(results, pools, reader, confidence),
        missing=missing,
    )


def measure_differences(
    pools: Sequence[Pool], baseline: str | None, reader: PredictionReader, confidence: float
) -> dict[Checkpoint, Difference]:
    """Accuracy of each distinct checkpoint minus its baseline's, paired by replicate and question.

    Holm's adjustment is over all differences that come back, that is over the table. A checkpoint is left out when it has no
    baseline, and when the predictions of one of its replicates are gone (`reader.missing`).
    """
    found: dict[Checkpoint, PairedDifference] = {}
    unpaired: dict[Checkpoint, int] = {}
    for pool in distinct(pools):
        other = choose_baseline(pools, pool.checkpoint, baseline) if baseline is not None else None
        if other is not None and (samples := reader.gains(pool, other)):
            found[pool.checkpoint] = paired_difference(samples, confidence)
            unpaired[pool.checkpoint] = reader.num_unpaired(pool, other)
    adjusted = holm([each.p for each in found.values()])
    return {
        checkpoint: Difference(
            value=each.value,
            low=each.low,
            high=each.high,
            p=each.p,
            p_holm=p_holm,
            num_seeds=each.num_seeds,
            is_flat=each.is_flat,
            num_unpaired=unpaired[checkpoint],
        )
        for (checkpoint, each), p_holm in zip(found.items(), adjusted, strict=True)
    }


def measure_intervals(pools: Sequence[Pool], reader: PredictionReader, confidence: float) -> dict[Checkpoint, Bounds]:
    """Interval of each checkpoint's accuracy, where what it takes is there."""
    found = {}
    for pool in pools:
        counts = [(row.num_correct, row.num_questions) for row in pool.samples]
        bounds = _interval(counts, lambda pool=pool: reader.all_answers(pool), confidence)  # type: ignore[misc]
        if bounds is not None:
            found[pool.checkpoint] = bounds
    return found


def measure_slices(
    results: Results, pools: Sequence[Pool], reader: PredictionReader, confidence: float
) -> dict[tuple[Checkpoint, SliceName], Bounds]:
    """Interval of each checkpoint's accuracy on each of its slices, where what it takes is there."""
    found = {}
    for pool in pools:
        counts: dict[SliceName, list[tuple[int, int]]] = {}
        for row in pool.samples:
            for name, tally in parts_of(results.scores[row.artefact]).items():
                counts.setdefault(name, []).append((tally.num_correct, tally.num_questions))
        for name, each in counts.items():
            bounds = _interval(each, lambda pool=pool, name=name: reader.all_answers(pool, name), confidence)  # type: ignore[misc]
            if bounds is not None:
                found[pool.checkpoint, name] = bounds
    return found


def _interval(counts: Sequence[tuple[int, int]], answers: Callable[[], Samples], confidence: float) -> Bounds | None:
    """Of one seed the counts are enough, over several the answers decide; None where some are gone."""
    if len(counts) == 1:
        return wilson_interval(*counts[0], confidence)
    samples = answers()
    return accuracy_interval(samples, confidence) if samples else None


def average_groups(
    samples: Sequence[Mapping[str, float]], replicates: Sequence[Replicate]
) -> list[Mapping[str, float]]:
    """The samples of these replicates, those of a group (`group_replicates`) as one: question by question their mean."""
    groups = [[samples[number] for number in group] for group in group_replicates(replicates)]
    return [
        {name: fmean(each[name] for each in group if name in each) for name in dict.fromkeys(chain(*group))}
        for group in groups
    ]


class PredictionReader:
    """Right and wrong answers of scored checkpoints, read once each.

    Attributes:
        missing: artefacts that were asked for and have no predictions.
        disjoint: pairs of artefacts that were to be compared and have no question in common.
    """

    def __init__(self, predictions: Mapping[str, Path]) -> None:
        self.predictions = predictions
        self.missing: set[str] = set()
        self.disjoint: set[tuple[str, str]] = set()
        self._answers: dict[str, dict[str, bool]] = {}
        self._slices: dict[str, dict[SliceName, set[str]]] = {}

    def warn_of_missing(self) -> None:
        """Says on stderr, in one line each, what predictions are gone, and what had nothing to compare."""
        if self.missing:
            places = ", ".join(sorted(self.missing))
            print(
                f"warning: no difference and no interval of what has lost predictions, be it of one seed: {places}",
                file=sys.stderr,
            )
        if self.disjoint:
            pairs = "; ".join(" and ".join(pair) for pair in sorted(self.disjoint))
            print(
                f"warning: no difference of what has no question in common, be it under one seed: {pairs}",
                file=sys.stderr,
            )

    def answers(self, artefact: str) -> dict[str, bool]:
        """Question id -> whether it was answered right; empty when the predictions are gone."""
        if artefact not in self._answers:
            path = self.predictions.get(artefact)
            if path is None:
                self.missing.add(artefact)
            attempts = [] if path is None else read_records(path, Attempt)
            self._answers[artefact] = {attempt.question.id: attempt.is_correct for attempt in attempts}
            slices: dict[SliceName, set[str]] = {}
            for attempt in attempts:
                for name in slices_of(attempt.question):
                    slices.setdefault(name, set()).add(attempt.question.id)
            self._slices[artefact] = slices
        return self._answers[artefact]

    def all_answers(self, pool: Pool, part: SliceName | None = None) -> Samples:
        """Answers of a pool by `average_groups`, on one slice where `part` names it; without samples that have none there.

        Nothing where the predictions of one are gone.
        """
        found = []
        for row in pool.samples:
            answers = self.answers(row.artefact)
            if not answers:
                return []
            names = answers if part is None else self._slices[row.artefact].get(part, ())
            found.append((row.replicate, {name: float(answers[name]) for name in answers if name in names}))
        there = [(replicate, sample) for replicate, sample in found if sample]
        return average_groups([sample for _, sample in there], [replicate for replicate, _ in there])

    def gains(self, pool: Pool, other: Pool) -> Samples:
        """Per replicate that both pools have: question id -> right answers of `pool` minus those of `other` (-1, 0 or 1).

        Two scorings that are there under several replicates were made once, and are one sample; those of a group are averaged
        (`average_groups`). Nothing where the predictions of one are gone, or two have no question in common: the rest would be
        another difference than that of the accuracies beside it.
        """
        pairs = _pairs(pool, other)
        samples = []
        for our, their in pairs:
            ours, theirs = self.answers(our), self.answers(their)
            samples.append({name: float(ours[name] - theirs[name]) for name in ours if name in theirs})
            if ours and theirs and not samples[-1]:
                self.disjoint.add((our, their))
        return average_groups(samples, list(pairs.values())) if all(samples) else []

    def num_unpaired(self, pool: Pool, other: Pool) -> int:
        """Questions of one side alone, over the samples of `gains`."""
        return sum(len(self.answers(our).keys() ^ self.answers(their).keys()) for our, their in _pairs(pool, other))


def _pairs(pool: Pool, other: Pool) -> dict[tuple[str, str], Replicate]:
    """The artefacts of the replicates that both pools have, once each, with the first replicate that has them."""
    baselines = {row.replicate: row.artefact for row in other.rows}
    pairs: dict[tuple[str, str], Replicate] = {}
    for row in pool.rows:
        if row.replicate in baselines:
            pairs.setdefault((row.artefact, baselines[row.replicate]), row.replicate)
    return pairs
