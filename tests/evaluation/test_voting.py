"""The majority of several answers, by hand."""

import pytest

from medcritical.evaluation.voting import majority
from medcritical.records import Attempt, Question

QUESTION = Question(
    id="q", stem="s", options={"A": "x", "B": "y", "C": "z"}, answer="B", language="en", split="test", source="t"
)


def attempt(letters: str | None, text: str = "") -> Attempt:
    return Attempt(
        question=QUESTION,
        text=text,
        letters=letters,
        rule="r",
        is_correct=letters == "B",
        is_well_formed=True,
        is_sound=None,
        prompt_tokens=3,
        completion_tokens=10,
        round=0,
    )


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        ("ABB", "B"),
        ("AAB", "A"),
        ("ABBA", "A"),  # as many each: the one that came first
        ("BCA", "B"),
        ([None, None, "C"], "C"),  # what has no answer has no vote
        ([None, None], None),
    ],
)
def test_the_commonest_answer_counts(votes: list[str | None], winner: str | None) -> None:
    chosen = majority([attempt(letters) for letters in votes])
    assert (chosen.letters, chosen.is_correct) == (winner, winner == "B")
    assert chosen.completion_tokens == 10 * len(votes)


def test_the_first_of_the_majority_speaks_for_it() -> None:
    assert majority([attempt("A", "no"), attempt("B", "first"), attempt("B", "second")]).text == "first"


def test_one_answer_is_its_own_majority() -> None:
    assert majority([attempt("C")]) == attempt("C")
