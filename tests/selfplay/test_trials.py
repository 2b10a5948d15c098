"""Pools and budget: who is solved, who is tried again."""

from collections.abc import Callable
from random import Random

import pytest

from medcritical.records import Attempt, Correction
from medcritical.selfplay.trials import Trial, choose_wrong, trials_of, unsolved, within_budget

Make = Callable[..., Attempt]
Correct = Callable[..., Correction]


def trial(*attempts: Attempt, corrections: tuple[Correction, ...] = ()) -> Trial:
    return Trial(attempts[0].question, list(attempts), list(corrections))


def test_pools(attempt: Make, correction: Correct) -> None:
    wrong = attempt("wrong")
    assert trial(attempt("right"), wrong).pool == "solved"
    assert trial(wrong, corrections=(correction(wrong),)).pool == "corrected"
    assert trial(wrong, corrections=(correction(wrong, "wrong too"),)).pool == "stubborn"
    assert trial(wrong).pool == "stubborn"


def test_what_is_not_in_strict_form_solves_and_corrects_nothing(attempt: Make, correction: Correct) -> None:
    wrong = attempt("wrong")
    one = trial(attempt("right", well=False), wrong, corrections=(correction(wrong, well=False),))
    assert (one.right, one.verified, one.pool) == ([], [], "stubborn")
    assert trial(attempt("wrong", well=False)).wrong == []


def test_a_solved_question_stays_solved_when_corrected_too(attempt: Make, correction: Correct) -> None:
    wrong = attempt("wrong")
    assert trial(attempt("right"), wrong, corrections=(correction(wrong),)).pool == "solved"


def test_wrong_attempts_are_told_apart_by_their_text(attempt: Make) -> None:
    one = trial(attempt("wrong a"), attempt("wrong b"), attempt("wrong a"), attempt("right"))
    assert [item.text for item in one.wrong] == ["wrong a", "wrong b"]


def test_tokens_of_attempts_and_corrections_are_the_students(attempt: Make, correction: Correct) -> None:
    wrong = attempt("wrong", tokens=7)
    assert trial(wrong, attempt(tokens=5), corrections=(correction(wrong, tokens=11),)).student_tokens == 23


def test_a_correction_needs_something_to_correct_and_a_new_attempt_does_not(attempt: Make) -> None:
    solved, stubborn, malformed = (
        trial(attempt("right", id="a")),
        trial(attempt("wrong", id="b")),
        trial(attempt("wrong", id="c", well=False)),
    )
    every = [solved, stubborn, malformed]
    assert unsolved(every, needs_wrong=True) == [stubborn]
    assert unsolved(every, needs_wrong=False) == [stubborn, malformed]


@pytest.mark.parametrize(
    ("left", "each", "paid"),
    [(100, 25.0, 4), (99, 25.0, 3), (24, 25.0, 0), (0, 25.0, 0), (-50, 25.0, 0), (1000, 25.0, 5), (3, 0.0, 3)],
)
def test_the_rest_of_the_budget_pays_for_the_first_in_line(attempt: Make, left: int, each: float, paid: int) -> None:
    waiting = [trial(attempt("wrong", id=f"q{number}")) for number in range(5)]
    assert within_budget(waiting, tokens_left=left, tokens_each=each) == waiting[:paid]


def test_each_wrong_attempt_has_its_turn(attempt: Make) -> None:
    one = trial(attempt("wrong a"), attempt("wrong b"), attempt("right"))
    rng = Random(0)
    assert {choose_wrong(one, rng).text for _ in range(30)} == {"wrong a", "wrong b"}


def test_what_play_wrote_is_put_together_again(attempt: Make, correction: Correct) -> None:
    wrong = attempt("wrong", id="b")
    attempts = [wrong, attempt("right", id="a"), attempt("wrong too", id="b")]
    first, second = trials_of(attempts, [correction(wrong)])
    assert (first.question.id, second.question.id) == ("b", "a")
    assert [item.text for item in first.attempts] == ["wrong", "wrong too"]
    assert (len(first.corrections), second.corrections) == (1, [])
