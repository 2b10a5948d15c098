"""Scores by hand: exact sets, unparsed answers, soundness, chance and the commonest answer."""

import pytest

from medcritical.evaluation.scoring import accuracy_by_arity, chance_of, commonest_answer, jaccard, score_attempts
from medcritical.evaluation.statistics import wilson_interval
from medcritical.records import Attempt, Question


def make_attempt(answer, letters, *, num_options=4, is_sound=None, tokens=10, number=0):
    question = Question(
        id=f"q{number}",
        stem="stem",
        options={letter: f"option {letter}" for letter in "ABCDE"[:num_options]},
        answer=answer,
        language="en",
        split="test",
        source="made",
    )
    return Attempt(
        question=question,
        text="",
        letters=letters,
        rule="tag" if letters else "none",
        is_correct=letters == answer,
        is_well_formed=letters is not None,
        is_sound=is_sound,
        prompt_tokens=1,
        completion_tokens=tokens,
        round=0,
    )


def test_score_by_hand():
    attempts = [
        make_attempt("A", "A", number=0, tokens=10),
        make_attempt("B", None, number=1, tokens=20),
        make_attempt("A", "C", number=2, num_options=5, tokens=30),
        make_attempt("ABD", "AB", number=3, num_options=5, tokens=40),  # not the exact set
        make_attempt("ABD", "ABD", number=4, num_options=5, tokens=50),
    ]
    score = score_attempts(attempts, data="made", split="test", confidence=0.95)
    assert (score.num_questions, score.num_correct, score.num_unparsed, score.num_sound) == (5, 2, 1, None)
    assert score.accuracy == pytest.approx(0.4)
    assert (score.ci_low, score.ci_high) == wilson_interval(2, 5, 0.95)
    assert score.chance == pytest.approx((1 / 4 + 1 / 4 + 1 / 5 + 1 / 31 + 1 / 31) / 5)
    assert (score.commonest_letter, score.commonest_letter_accuracy) == ("A", pytest.approx(0.4))
    assert score.mean_tokens == pytest.approx(30)


def test_soundness_counts_only_where_it_is_known():
    attempts = [
        make_attempt("A", "A", is_sound=True, number=0),
        make_attempt("A", "A", is_sound=False, number=1),
        make_attempt("A", "A", number=2),
    ]
    assert score_attempts(attempts, data="clinic", split="dev", confidence=0.95).num_sound == 1


def test_nothing_to_score_is_refused():
    with pytest.raises(ValueError, match="nothing to score"):
        score_attempts([], data="made", split="test", confidence=0.95)


def test_chance():
    assert chance_of(make_attempt("A", None, num_options=5).question) == pytest.approx(0.2)
    assert chance_of(make_attempt("AB", None, num_options=3).question) == pytest.approx(1 / 7)


def test_commonest_answer_takes_the_first_of_equals():
    assert commonest_answer(["B", "A", "B", "A", "C"]) == "A"


def test_accuracy_by_arity():
    attempts = [make_attempt("A", "A"), make_attempt("A", "B"), make_attempt("AB", "A")]
    assert accuracy_by_arity(attempts) == {"single": 0.5, "multi": 0.0}
    assert accuracy_by_arity(attempts[:1]) == {"single": 1.0}


def test_jaccard():
    assert jaccard("ABD", "AB") == pytest.approx(2 / 3)
    assert jaccard("A", "B") == 0.0
    assert jaccard("AB", "AB") == 1.0
    assert jaccard("", "") == 1.0
