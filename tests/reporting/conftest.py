"""Rows and scores for the reporting tests."""

from collections.abc import Callable, Sequence

import pytest

from medcritical.records import Score
from medcritical.reporting.summary import LedgerEntry, Results, SummaryRow
from medcritical.store import Costs

MakeRow = Callable[..., SummaryRow]
MakeScore = Callable[..., Score]
MakeResults = Callable[..., Results]


@pytest.fixture
def make_row() -> MakeRow:
    """A row of 200 questions with given counts; anything else by keyword."""

    def make(
        arm: str = "sft", iteration: int = 0, num_correct: int = 100, seed: int = 0, **changes: object
    ) -> SummaryRow:
        fields: dict[str, object] = {
            "run": "demo",
            "arm": arm,
            "title": arm.upper(),
            "stage": arm if arm in ("base", "sft") else "dpo",
            "iteration": iteration,
            "beta": None if arm in ("base", "sft") else 0.1,
            "seed": seed,
            "data": "clinic",
            "split": "test",
            "num_questions": 200,
            "num_correct": num_correct,
            "accuracy": num_correct / 200,
            "ci_low": num_correct / 200 - 0.07,
            "ci_high": num_correct / 200 + 0.07,
            "confidence": 0.95,
            "unparsed": 3,
            "undecided": 0,
            "verifier": "exact",
            "sound": num_correct - 20,
            "teacher_tokens": 90_000,
            "student_tokens": 1_234_567 * iteration,
            "seconds": 41.2,
            "artefact": f"evaluate/{arm}-{iteration}-{seed}",
            "chance": 0.25,
            "commonest_letter_accuracy": 0.275,
        }
        return SummaryRow(**{**fields, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_score() -> MakeScore:
    """A score of 200 questions, 100 of them right; anything else by keyword."""

    def make(**changes: object) -> Score:
        fields: dict[str, object] = {
            "data": "clinic",
            "split": "test",
            "num_questions": 200,
            "num_correct": 100,
            "num_unparsed": 3,
            "num_sound": None,
            "accuracy": 0.5,
            "ci_low": 0.43,
            "ci_high": 0.57,
            "chance": 0.25,
            "commonest_letter": "A",
            "commonest_letter_accuracy": 0.275,
            "mean_tokens": 40.0,
        }
        return Score(**{**fields, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_results(make_score: MakeScore) -> MakeResults:
    """Rows with a score each, and a ledger: `spent` says what the artefacts that each checkpoint was made from took.

    A row whose artefact is not in `spent` was made from nothing. Every scoring took one second.
    """

    def make(
        rows: Sequence[SummaryRow],
        scores: dict[str, Score] | None = None,
        spent: dict[str, dict[str, LedgerEntry]] | None = None,
    ) -> Results:
        scores, spent = scores or {}, spent or {}
        scoring = {row.artefact: LedgerEntry(stage="evaluate", costs=Costs(seconds=1)) for row in rows}
        return Results(
            rows=list(rows),
            scores={row.artefact: scores.get(row.artefact, make_score()) for row in rows},
            lineage={row.artefact: tuple(spent.get(row.artefact, {})) for row in rows},
            ledger={name: entry for entries in spent.values() for name, entry in entries.items()} | scoring,
        )

    return make
