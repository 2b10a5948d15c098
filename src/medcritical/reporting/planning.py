"""What it takes to find a difference, from how seeds and questions varied so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from medcritical.errors import DataError
from medcritical.evaluation.power import POWER, Components, components, questions_needed, seeds_needed
from medcritical.reporting.measuring import PredictionReader
from medcritical.reporting.pooling import Pool, choose_baseline, distinct, last_iterations
from medcritical.reporting.tables import Table, group_note, leading_columns, level, whole

POINTS = (1.0, 1.5, 2.0, 3.0, 5.0)
"""Differences that are planned for where none is named, percentage points."""
MOST_SEEDS, MOST_QUESTIONS = 1000, 10_000_000
"""More than anyone runs: of what takes more it is only said that it does."""


def power_table(
    pools: Sequence[Pool],
    baseline: str | None,
    reader: PredictionReader,
    confidence: float,
    points: Sequence[float] = POINTS,
) -> Table:
    """One line per arm at its last iteration and difference to be found: seeds and questions that it takes.

    Raises DataError where no arm has predictions of two seeds that its baseline has too.
    """
    last = last_iterations(pools)
    varied: dict[int, Components] = {}
    shown = distinct(last)
    for number, pool in enumerate(shown):
        other = choose_baseline(last, pool.checkpoint, baseline) if baseline is not None else None
        samples = reader.gains(pool, other) if other is not None else []
        if len(samples) > 1:
            varied[number] = components(samples)
    if not varied:
        raise DataError(
            "--power needs an arm and its baseline under at least two seeds, for one says nothing of how seeds vary: run more "
            "(sweeps=seeds), or name another --baseline."
        )
    leading = leading_columns([shown[number] for number in varied])
    header = (*(column.heading for column in leading), "seeds", "n", "deviation of a seed", "find", "seeds at this n")
    lines = []
    for number, variances in varied.items():
        names = [column.cell(shown[number]) for column in leading]
        seen = (str(variances.num_seeds), str(variances.num_questions), f"{100 * math.sqrt(variances.seed):.1f}")
        lines += [(*names, *seen, f"{each:g}", *_needed(variances, each / 100, confidence)) for each in points]
    notes = _notes(baseline, confidence, varied.values())
    if grouped := group_note([shown[number] for number in varied]):
        notes.append(f"seeds: {grouped}")
    return Table((*header, "n at these seeds"), tuple(lines), tuple(notes))


def _needed(variances: Components, difference: float, confidence: float) -> tuple[str, str]:
    seeds = seeds_needed(variances, difference, variances.num_questions, confidence)
    questions = questions_needed(variances, difference, variances.num_seeds, confidence)
    return _at_most(seeds, MOST_SEEDS) or "no number of seeds", _at_most(
        questions, MOST_QUESTIONS
    ) or "no number of questions"


def _at_most(number: int | None, most: int) -> str | None:
    return whole(number) if number is None or number <= most else f"over {whole(most)}"


def _notes(baseline: str | None, confidence: float, varied: Iterable[Components]) -> list[str]:
    counts = sorted({variances.num_seeds for variances in varied})
    return [
        f"find: true difference to arm '{baseline}', percentage points, found with {POWER:.0%} power by the tables' test at "
        f"level {level(1 - confidence)}, two-sided, before Holm's adjustment, which takes more",
        "deviation of a seed: of its difference, percentage points, without what its questions add",
        f"estimated from {' or '.join(map(str, counts))} seeds: from few of them a rough guess, so plan with room to spare",
    ]
