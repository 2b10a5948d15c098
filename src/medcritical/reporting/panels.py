"""What a W&B run shows of a finished run, as plain rows and tables: made from what the store holds. Pure but for samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from medcritical.records import Correction
from medcritical.reporting.summary import STAGE_1, Results
from medcritical.reporting.trail import Iteration, MetricRow, joined
from medcritical.store import iter_records

ITERATION = "iteration"
PAIR_COUNTS = ("pairs", "chosen_alone", "duplicate_pairs", "overlap", "length_gap_words", "sound_chosen")
LAST_METRICS = ("train/margin", "train/reward_accuracy", "train/chosen_log_ratio", "train/preference_loss")


@dataclass(frozen=True)
class Grid:
    """A table for people to look through: column names and rows of plain values."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def training_series(iterations: Sequence[Iteration]) -> list[tuple[str, list[dict[str, float]]]]:
    """(arm, rows) per arm that was trained: its iterations as one curve, `step` counting through them."""
    arms: dict[str, list[tuple[int, Sequence[MetricRow]]]] = {}
    for iteration in sorted(iterations, key=lambda each: each.row.iteration):
        for training in iteration.trainings:
            arms.setdefault(iteration.row.arm, []).append((iteration.row.iteration, training.rows))
    return [(arm, joined(trainings)) for arm, trainings in arms.items()]


def iteration_rows(iterations: Sequence[Iteration], results: Results) -> list[dict[str, float]]:
    """One row per iteration, from 0 on, with `iteration` and a value per arm: accuracy, slices, pairs, health, costs.

    An arm that begins at iteration 1 has stage 1's accuracy at 0, so that its curve starts where its training did.
    """
    rows: dict[int, dict[str, float]] = {}
    for each in iterations:
        values = rows.setdefault(each.row.iteration, {})
        values |= _scores(each, results) | _pairs(each) | _health(each) | _costs(each)
    stage_1 = [each.row for each in iterations if each.row.arm == STAGE_1]
    for row in stage_1:
        for arm in {each.row.arm for each in iterations if each.row.iteration > 0}:
            rows[0].setdefault(f"accuracy/{row.data}/{row.split}/{arm}", row.accuracy)
    return [{ITERATION: number, **rows[number]} for number in sorted(rows)]


def sample_table(iterations: Sequence[Iteration], limit: int) -> Grid:
    """The first `limit` corrections of each arm and iteration: question, attempt, correction, and what became of both."""
    columns = ("arm", ITERATION, "question", "options", "key", "attempt", "attempt outcome", "insight")
    found: list[tuple[Any, ...]] = []
    for each in iterations:
        corrections = iter(()) if each.corrections is None else iter_records(each.corrections, Correction)
        for item in islice(corrections, limit):
            asked = item.wrong.question
            options = "\n".join(f"{letter} {text}" for letter, text in asked.options.items())
            told = (asked.stem, options, asked.answer, item.wrong.text, item.wrong.outcome, item.insight)
            verdict = (item.corrected.text, item.corrected.outcome, each.play)
            found.append((each.row.arm, each.row.iteration, *told, *verdict))
    return Grid((*columns, "correction", "verdict", "artefact"), tuple(found))


def pair_table(iterations: Sequence[Iteration]) -> Grid:
    """Everything that was counted about the pairs of each arm and iteration, one count a line."""
    lines = [
        (each.row.arm, each.row.iteration, name, value, each.pairs)
        for each in iterations
        for name, value in _flat(each.quality)
    ]
    return Grid(("arm", ITERATION, "count", "value", "artefact"), tuple(lines))


def alarm_table(iterations: Sequence[Iteration]) -> Grid:
    """Every alarm as a sentence."""
    lines = [(each.row.arm, each.row.iteration, *alarm) for each in iterations for alarm in each.alarms]
    return Grid(("arm", ITERATION, "artefact", "alarm"), tuple(lines))


def artefact_table(results: Results) -> Grid:
    """What every artefact of the run took: tokens and seconds."""
    names = ("teacher_tokens", "student_tokens", "judge_tokens", "seconds")
    lines = [
        (key, entry.stage, *(getattr(entry.costs, name) for name in names)) for key, entry in results.ledger.items()
    ]
    return Grid(("artefact", "stage", *names), tuple(lines))


def _scores(each: Iteration, results: Results) -> dict[str, float]:
    row, score = each.row, results.scores[each.row.artefact]
    values = {
        f"accuracy/{row.data}/{row.split}/{row.arm}": row.accuracy,
        f"health/{row.arm}/unparsed": row.unparsed / row.num_questions,
    }
    return values | {f"slices/{row.arm}/{part.annotation}/{part.value}": part.accuracy for part in score.slices}


def _pairs(each: Iteration) -> dict[str, float]:
    prefix, quality = f"pairs/{each.row.arm}", each.quality
    values = {f"{prefix}/{name}": quality[name] for name in PAIR_COUNTS if quality.get(name) is not None}
    if quality.get("corrections_tried"):
        values[f"{prefix}/verified"] = quality["corrections_verified"] / quality["corrections_tried"]
    return values | {f"{prefix}/pools/{pool}": count for pool, count in quality.get("pools", {}).items()}


def _health(each: Iteration) -> dict[str, float]:
    """Alarms, malformed attempts, and the last logged metrics of the training."""
    prefix = f"health/{each.row.arm}"
    values: dict[str, float] = {f"{prefix}/alarms": len(each.alarms)} if each.trainings else {}
    if "malformed_attempts" in each.quality:
        values[f"{prefix}/malformed_attempts"] = each.quality["malformed_attempts"]
    last: MetricRow = each.trainings[-1].rows[-1] if each.trainings and each.trainings[-1].rows else {}
    return values | {f"{prefix}/{name.removeprefix('train/')}": last[name] for name in LAST_METRICS if name in last}


def _costs(each: Iteration) -> dict[str, float]:
    row = each.row
    costs = {"teacher_tokens": row.teacher_tokens, "student_tokens": row.student_tokens, "seconds": row.seconds}
    return {f"cost/{row.arm}/{name}": value for name, value in costs.items() if value is not None}


def _flat(quality: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in quality.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif value is not None:
            yield f"{prefix}{name}", value
