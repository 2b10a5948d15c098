"""Which response is preferred to which, and the figures of an iteration's pairs."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.config.choices import Fallback, PairWeight
from medcritical.records import Attempt, Correction, PreferencePair
from medcritical.selfplay.pairing import drawn_first, make_pairs, pair_weights, student_contrasts
from medcritical.selfplay.quality import overlap, pair_quality
from medcritical.selfplay.trials import Trial

Make = Callable[..., Attempt]
Correct = Callable[..., Correction]


def trial(*attempts: Attempt, corrections: tuple[Correction, ...] = ()) -> Trial:
    return Trial(attempts[0].question, list(attempts), list(corrections))


def made(
    trials: Sequence[Trial], fallback: Fallback = Fallback.own, per_question: int | None = 1, seed: int = 0
) -> tuple[list[PreferencePair], Counter[str]]:
    rng = Random(seed)
    contrasts = partial(student_contrasts, fallback=fallback, rng=rng)
    return make_pairs(trials, contrasts, per_question=per_question, rng=rng)


def pairs_of(
    *trials: Trial, fallback: Fallback = Fallback.own, per_question: int | None = 1, seed: int = 0
) -> tuple[list[tuple], dict[str, int]]:
    pairs, counts = made(trials, fallback, per_question, seed)
    return [(pair.question.id, pair.chosen, pair.rejected, pair.origin) for pair in pairs], dict(counts)


@pytest.mark.parametrize("fallback", Fallback)
def test_a_correction_is_preferred_to_what_it_corrects(attempt: Make, correction: Correct, fallback: Fallback) -> None:
    first, second = attempt("wrong a"), attempt("wrong b")
    one = trial(first, second, corrections=(correction(first, "wrong again"), correction(second, "right b")))
    assert pairs_of(one, fallback=fallback) == ([("q1", "right b", "wrong b", "correction")], {"correction_pair": 1})


def test_a_correction_goes_before_an_own_right_attempt(attempt: Make, correction: Correct) -> None:
    """Uniform allocation corrects every wrong attempt, of solved questions too."""
    wrong = attempt("wrong")
    one = trial(attempt("right"), wrong, corrections=(correction(wrong, "right b"),))
    for fallback in Fallback:
        assert pairs_of(one, fallback=fallback)[0] == [("q1", "right b", "wrong", "correction")]


def test_the_fallback_where_an_own_attempt_is_right(attempt: Make, correction: Correct) -> None:
    wrong = attempt("wrong")
    one = trial(attempt("right"), wrong, corrections=(correction(wrong, "wrong again"),))
    assert pairs_of(one, fallback=Fallback.own) == ([("q1", "right", "wrong", "own")], {"own_pair": 1})
    assert pairs_of(one, fallback=Fallback.drop) == ([("q1", "right", None, "own")], {"own_alone": 1})


@pytest.mark.parametrize("fallback", Fallback)
def test_a_question_without_a_wrong_attempt_is_chosen_alone(attempt: Make, fallback: Fallback) -> None:
    only_right = trial(attempt("right"), attempt("right"))
    malformed = trial(attempt("right", id="q2"), attempt("wrong", id="q2", well=False))
    assert pairs_of(only_right, malformed, fallback=fallback) == (
        [("q1", "right", None, "own"), ("q2", "right", None, "own")],
        {"own_alone": 2},
    )


@pytest.mark.parametrize("fallback", Fallback)
def test_a_stubborn_question_is_left_out_and_counted(attempt: Make, correction: Correct, fallback: Fallback) -> None:
    wrong = attempt("wrong")
    stubborn = trial(wrong, attempt("right", well=False), corrections=(correction(wrong, well=False),))
    assert pairs_of(stubborn, fallback=fallback) == ([], {"stubborn": 1})


def test_every_candidate_can_be_drawn_and_one_seed_draws_alike(attempt: Make) -> None:
    one = trial(attempt("right a"), attempt("right b"), attempt("wrong a"), attempt("wrong b"))
    drawn = {pairs_of(one, seed=seed)[0][0][1:3] for seed in range(40)}
    assert drawn == {(f"right {left}", f"wrong {right}") for left in "ab" for right in "ab"}
    assert pairs_of(one, seed=7) == pairs_of(one, seed=7)


def several(attempt: Make, correction: Correct, id: str = "q1") -> Trial:
    """Three distinct wrong attempts, one of them twice, and two distinct verified corrections, one of them twice."""
    first, second, third = (attempt(f"wrong {name}", id=id) for name in "abc")
    corrections = (
        correction(first, "right a"),
        correction(second, "right b"),
        correction(third, "right b"),
        correction(third, "wrong d"),
        correction(third, "right c", well=False),
    )
    return trial(first, second, third, attempt("wrong a", id=id), attempt("right own", id=id), corrections=corrections)


def test_all_pairs_of_a_question_are_its_distinct_combinations(attempt: Make, correction: Correct) -> None:
    """An own right attempt is none of them where a correction is verified."""
    pairs, counts = pairs_of(several(attempt, correction), per_question=None)
    expected = {(f"right {right}", f"wrong {wrong}") for right in "ab" for wrong in "abc"}
    assert (len(pairs), {pair[1:3] for pair in pairs}) == (6, expected)
    assert ({pair[3] for pair in pairs}, counts) == ({"correction"}, {"correction_pair": 6})


def test_own_right_against_own_wrong_where_the_arm_says_so(attempt: Make) -> None:
    one = trial(attempt("right a"), attempt("right b"), attempt("right a"), attempt("wrong a"), attempt("wrong b"))
    pairs, counts = pairs_of(one, per_question=None)
    assert {pair[1:3] for pair in pairs} == {(f"right {left}", f"wrong {right}") for left in "ab" for right in "ab"}
    assert counts == {"own_pair": 4}
    assert pairs_of(one, fallback=Fallback.drop, per_question=None)[1] == {"own_alone": 1}


def test_as_many_pairs_of_each_question_as_are_asked_for(attempt: Make, correction: Correct) -> None:
    """The first of each question is the same for any number, and so is what is chosen alone."""
    trials = [
        several(attempt, correction),
        trial(attempt("right x", id="q2"), attempt("right y", id="q2")),
        several(attempt, correction, "q3"),
        trial(attempt("wrong", id="q4")),
    ]
    for seed in range(5):
        ones, counts = pairs_of(*trials, seed=seed)
        assert counts == {"correction_pair": 2, "own_alone": 1, "stubborn": 1}
        for number, expected in ((2, 2), (6, 6), (7, 6), (None, 6)):
            pairs, counts = pairs_of(*trials, per_question=number, seed=seed)
            assert counts == {"correction_pair": 2 * expected, "own_alone": 1, "stubborn": 1}
            assert len(set(pairs)) == len(pairs)
            assert [pairs[0], pairs[expected], pairs[expected + 1]] == ones
            assert pairs == pairs_of(*trials, per_question=number, seed=seed)[0]


def test_what_is_drawn_stands_in_front() -> None:
    assert drawn_first(["a", "b", "c"], "b") == ["b", "a", "c"]
    assert drawn_first(["a", "b"], "elsewhere") == ["elsewhere", "a", "b"]


def test_weights_by_hand(attempt: Make, correction: Correct) -> None:
    trials = [several(attempt, correction), trial(attempt("right", id="q2"), attempt("wrong", id="q2"))]
    pairs, _ = made(trials, per_question=None)
    again = [msgspec.structs.replace(pairs[0], iteration=2)]  # of another iteration: a question of its own
    taught = [msgspec.structs.replace(pairs[0], rejected=None, corrects="wrong a")] * 2
    every = [*pairs, *again, *taught]
    assert pair_weights(every, PairWeight.per_pair) == [1.0] * 10
    assert pair_weights(every, PairWeight.per_question) == [*[1 / 6] * 6, 1.0, 1.0, 0.5, 0.5]


def test_soundness_of_the_chosen_travels(attempt: Make, correction: Correct) -> None:
    wrong = attempt("wrong", id="q2")
    pairs, _ = made([trial(attempt("right", sound=True)), trial(wrong, corrections=(correction(wrong, sound=False),))])
    assert [pair.is_chosen_sound for pair in pairs] == [True, False]


def test_the_quality_report_by_hand(attempt: Make, correction: Correct) -> None:
    left, right = attempt("wrong a b", id="q1"), attempt("wrong a b", id="q2")
    trials = [
        trial(left, corrections=(correction(left, "wrong x"), correction(left, "right a b c d", sound=True))),
        trial(right, corrections=(correction(right, "right a b c d", sound=False),)),
        trial(attempt("right", id="q3", sound=True), attempt("wrong", id="q3", well=False)),
        trial(attempt("wrong", id="q4")),
    ]
    pairs, counts = made(trials)
    assert pair_quality(trials, pairs, counts["stubborn"]) == {
        "questions": 4,
        "pools": {"corrected": 2, "solved": 1, "stubborn": 1},
        "pairs": 2,
        "chosen_alone": 1,
        "made_of": {"correction_pair": 2, "own_alone": 1, "stubborn": 1},
        "corrections_tried": 3,
        "corrections_verified": 2,
        "malformed_attempts": 1,
        "duplicate_pairs": 1,
        "sound_chosen": pytest.approx(2 / 3),
        "chosen_words": 5,
        "rejected_words": 3,
        "length_gap_words": 2,
        "overlap": pytest.approx(2 / 5),
    }


def test_the_quality_report_of_nothing(attempt: Make) -> None:
    stubborn = [trial(attempt("wrong"))]
    report = pair_quality(stubborn, [], 1)
    assert (report["pairs"], report["chosen_alone"], report["sound_chosen"]) == (0, 0, None)
    assert report["made_of"] == {"stubborn": 1}
    assert "overlap" not in report


@pytest.mark.parametrize(
    ("chosen", "rejected", "share"),
    [
        ("a b c d", "a b x y", 0.5),
        ("a a b", "a b b", 2 / 3),
        ("a b", "c d", 0.0),
        ("a b c", "c b a", 1.0),
        ("", "", 1.0),
        ("", "a b", 0.0),
        ("选择阿司匹林", "选择地高辛", 2 / 6),
        ("诊断 心绞痛", "诊断心绞痛", 1.0),
        ("血压 120/80 高", "血压高", 3 / 4),  # one space makes no words of Chinese
    ],
)
def test_overlap_by_hand(chosen: str, rejected: str, share: float) -> None:
    assert overlap(chosen, rejected) == pytest.approx(share)


@given(st.text(alphabet="ab 题c", max_size=12), st.text(alphabet="ab 题c", max_size=12))
def test_overlap_is_symmetric_and_a_share(left: str, right: str) -> None:
    assert overlap(left, right) == overlap(right, left)
    assert 0 <= overlap(left, right) <= 1
    assert overlap(left, left) == 1
