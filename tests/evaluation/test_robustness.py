"""Accuracy without flagged questions, and consistency over orders, by hand."""

import pytest

from medcritical.evaluation.robustness import accuracy_without, consistency
from medcritical.records import Attempt, Question


def attempt(id: str, letters: str | None) -> Attempt:
    question = Question(
        id=id, stem="s", options={"A": "x", "B": "y"}, answer="A", language="en", split="test", source="t"
    )
    return Attempt(
        question=question,
        text="",
        letters=letters,
        rule="",
        is_correct=letters == "A",
        is_well_formed=True,
        is_sound=None,
        prompt_tokens=0,
        completion_tokens=0,
        round=0,
    )


def test_accuracy_without_flagged_questions() -> None:
    attempts = [attempt("1", "A"), attempt("2", "A"), attempt("3", "B"), attempt("4", None)]
    assert accuracy_without(attempts, {"1", "2"}) == 0.0
    assert accuracy_without(attempts, {"3"}) == pytest.approx(2 / 3)
    assert accuracy_without(attempts, {"elsewhere"}) == 0.5
    assert accuracy_without(attempts, {"1", "2", "3", "4"}) is None


def test_consistency_counts_questions_answered_alike() -> None:
    assert consistency([["A", "A", "A"], ["A", "A", "B"], ["BC", "BC", "BC"], ["A", None, "A"]]) == 0.5


def test_answers_that_cannot_be_read_agree_with_nothing() -> None:
    assert consistency([[None, None], ["B", "B"]]) == 0.5


def test_no_question_is_no_consistency() -> None:
    with pytest.raises(ValueError, match="no question"):
        consistency([])
