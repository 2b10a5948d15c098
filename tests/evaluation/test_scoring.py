"""Scores by hand: exact sets, unparsed answers, soundness, chance and the commonest answer."""

import msgspec
import pytest

from configurations import configure
from medcritical.config.schema import SplitSizes
from medcritical.evaluation.scoring import MOST_VALUES, chance_of, commonest_answer, jaccard, score_attempts
from medcritical.records import Attempt, Judged, Question
from medcritical.world import generate_questions


def make_attempt(answer, letters, *, num_options=4, is_sound=None, tokens=10, number=0, meta=None, judgement=None):
    question = Question(
        id=f"q{number}",
        stem="stem",
        options={letter: f"option {letter}" for letter in "ABCDE"[:num_options]},
        answer=answer,
        language="en",
        split="test",
        source="made",
        meta=meta or {},
    )
    return Attempt(
        question=question,
        text="",
        letters=letters,
        rule="tag" if letters else "none",
        is_correct=letters == answer if judgement is None else judgement == "right",
        is_well_formed=letters is not None,
        is_sound=is_sound,
        prompt_tokens=1,
        completion_tokens=tokens,
        round=0,
        judgement=judgement,
    )


def test_score_by_hand():
    attempts = [
        make_attempt("A", "A", number=0, tokens=10),
        make_attempt("B", None, number=1, tokens=20),
        make_attempt("A", "C", number=2, num_options=5, tokens=30),
        make_attempt("ABD", "AB", number=3, num_options=5, tokens=40),  # not the exact set
        make_attempt("ABD", "ABD", number=4, num_options=5, tokens=50),
    ]
    score = score_attempts(attempts, split="test")
    assert (score.num_questions, score.num_correct, score.num_unparsed, score.num_sound) == (5, 2, 1, None)
    assert score.accuracy == pytest.approx(0.4)
    assert score.chance == pytest.approx((1 / 4 + 1 / 4 + 1 / 5 + 1 / 31 + 1 / 31) / 5)
    assert (score.commonest_letter, score.commonest_letter_accuracy) == ("A", pytest.approx(0.4))
    assert score.mean_tokens == pytest.approx(30)


def test_soundness_counts_only_where_it_is_known():
    attempts = [
        make_attempt("A", "A", is_sound=True, number=0),
        make_attempt("A", "A", is_sound=False, number=1),
        make_attempt("A", "A", number=2),
    ]
    assert score_attempts(attempts, split="dev").num_sound == 1


def test_nothing_to_score_is_refused():
    with pytest.raises(ValueError, match="nothing to score"):
        score_attempts([], split="test")


def test_chance():
    assert chance_of(make_attempt("A", None, num_options=5).question) == pytest.approx(0.2)
    assert chance_of(make_attempt("AB", None, num_options=3).question) == pytest.approx(1 / 7)


def test_commonest_answer_takes_the_first_of_equals():
    assert commonest_answer(["B", "A", "B", "A", "C"]) == "A"


def test_single_and_multi_stand_apart_with_letters_in_common():
    attempts = [
        make_attempt("A", "A"),
        make_attempt("A", "B"),
        make_attempt("B", "B"),
        make_attempt("ABD", "AB"),  # 2 of 3 letters
        make_attempt("AC", "AC"),
        make_attempt("AB", "BC"),  # 1 of 3
        make_attempt("AB", None),
    ]
    score = score_attempts(attempts, split="test")
    assert (score.single.num_questions, score.single.num_correct, score.single.commonest_letter) == (3, 2, "A")
    assert (score.multi.num_questions, score.multi.num_correct, score.multi.num_unparsed) == (4, 1, 1)
    assert score.multi.jaccard == pytest.approx((2 / 3 + 1 + 1 / 3 + 0) / 4)
    assert score.single.jaccard == score.single.accuracy == pytest.approx(2 / 3)
    assert score.multi.chance == pytest.approx(1 / 15)


def test_one_kind_of_answer_has_no_parts():
    score = score_attempts([make_attempt("AB", "AB")], split="test")
    assert (score.single, score.multi) == (None, None)
    assert score.jaccard == 1.0


def test_slices_by_annotation_largest_first():
    meta = [
        {"department": "surgery", "difficulty": 1, "source": "one"},
        {"department": "surgery", "difficulty": 2, "source": "one"},
        {"department": "儿科", "difficulty": 1, "source": "one"},
        {"department": "surgery", "source": "one", "tags": ["no text"]},
    ]
    letters = ["A", "B", None, "A"]
    attempts = [
        make_attempt("A", said, meta=about, number=i) for i, (said, about) in enumerate(zip(letters, meta, strict=True))
    ]
    score = score_attempts(attempts, split="test")
    found = [
        (part.annotation, part.value, part.num_questions, part.num_correct, part.num_unparsed) for part in score.slices
    ]
    assert found == [
        ("department", "surgery", 3, 2, 0),
        ("department", "儿科", 1, 0, 1),
        ("difficulty", "1", 2, 1, 1),
        ("difficulty", "2", 1, 0, 0),
    ]  # one source parts nothing, tags are no annotation


def test_an_annotation_that_tells_questions_apart_is_no_slice():
    def slices(num_values):
        attempts = [make_attempt("A", "A", meta={"topic": f"t{i}"}, number=i) for i in range(num_values)]
        return score_attempts(attempts, split="test").slices

    assert len(slices(MOST_VALUES)) == MOST_VALUES
    assert slices(MOST_VALUES + 1) == ()


def test_of_the_clinics_hidden_case_only_the_kind_is_a_slice():
    world = configure("data.world.diagnosis=0.5", "data.world.test=0.5").data.world
    questions = generate_questions(world, SplitSizes(train=30, dev=0, test=1), seed=1)[:30]
    attempts = [msgspec.structs.replace(make_attempt("A", "A"), question=question) for question in questions]
    score = score_attempts(attempts, split="train")
    assert {part.annotation for part in score.slices} == {"kind"}
    assert sum(part.num_questions for part in score.slices) == 30


def test_the_four_outcomes_add_up():
    attempts = [
        make_attempt("A", "A", judgement="right"),
        make_attempt("A", "B", judgement="right"),  # the judge decides
        make_attempt("A", "A", judgement="wrong"),
        make_attempt("A", "A", judgement="undecided"),
        make_attempt("A", None, judgement="undecided"),
        make_attempt("A", None, judgement="wrong"),  # nothing was found in it, and the judge agrees
        make_attempt("A", None),  # blank: the judge was not asked
    ]
    outcomes = [attempt.outcome for attempt in attempts]
    assert outcomes == ["right", "right", "wrong", "undecided", "undecided", "unparsed", "unparsed"]
    assert [attempt.is_wrong for attempt in attempts] == [False, False, True, False, False, True, True]
    score = score_attempts(attempts, split="test", is_judged=True)
    assert (score.num_correct, score.num_unparsed, score.num_undecided, score.num_questions) == (2, 2, 2, 7)
    assert score.accuracy == pytest.approx(2 / 7)  # what was left undecided stays in the denominator
    assert score.agreement.right == Judged(right=1, wrong=1, undecided=1)
    assert score.agreement.wrong == Judged(right=1, wrong=0, undecided=0)
    assert score.agreement.unparsed == Judged(right=0, wrong=1, undecided=1)


def test_without_a_judge_there_is_no_agreement():
    score = score_attempts([make_attempt("A", "A")], split="test")
    assert score.agreement is None


def test_jaccard():
    assert jaccard("ABD", "AB") == pytest.approx(2 / 3)
    assert jaccard("A", "B") == 0.0
    assert jaccard("AB", "AB") == 1.0
    assert jaccard("", "") == 1.0
