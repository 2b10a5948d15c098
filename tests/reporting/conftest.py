"""Rows for the reporting tests."""

from collections.abc import Callable

import pytest

from medcritical.reporting.summary import SummaryRow

MakeRow = Callable[..., SummaryRow]


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
