"""Intervals and tests against hand-worked and published numbers, and what must hold for any answers."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.evaluation.statistics import (
    holm,
    mcnemar_exact,
    mcnemar_pooled,
    minimum_detectable_difference,
    paired_bootstrap,
    pooled_bootstrap,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("num_correct", "num_questions", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statist. Med. 17:857, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published(num_correct, num_questions, low, high):
    assert wilson_interval(num_correct, num_questions, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(counts):
    num_correct, num_questions = counts
    low, high = wilson_interval(num_correct, num_questions, 0.95)
    assert 0 <= low <= num_correct / num_questions <= high <= 1
    mirrored = wilson_interval(num_questions - num_correct, num_questions, 0.95)
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_wilson_refuses_what_is_no_share():
    for num_correct, num_questions in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="no proportion"):
            wilson_interval(num_correct, num_questions, 0.95)


def test_mcnemar_by_hand():
    # 8 questions differ, 1 to one side: 2 (C(8,0) + C(8,1)) / 2^8 = 18 / 256.
    a, b = [True] + [False] * 7 + [True] * 5, [False] + [True] * 7 + [True] * 5
    assert mcnemar_exact(a, b) == pytest.approx(18 / 256)
    assert mcnemar_exact(b, a) == mcnemar_exact(a, b)
    assert mcnemar_exact([True, False], [True, False]) == 1.0
    assert mcnemar_exact([True, False], [False, True]) == 1.0  # 3 / 2, capped


def test_mcnemar_of_thousands_that_differ():
    assert mcnemar_exact([True] * 3000, [False] * 3000) < 1e-300


def test_bootstrap_of_constant_gains():
    result = paired_bootstrap([True] * 9, [False] * 9, 200, 0, 0.95)
    assert (result.difference, result.low, result.high) == pytest.approx((1, 1, 1))


def test_bootstrap_matches_the_normal_interval():
    a, b = [True] * 300 + [False] * 700, [True] * 200 + [False] * 800
    result = paired_bootstrap(a, b, 20_000, 0, 0.95)
    half_width = 1.96 * math.sqrt(0.1 * 0.9 / 1000)  # gains are 1 with probability .1, else 0
    assert result.difference == pytest.approx(0.1)
    assert (result.low, result.high) == pytest.approx((0.1 - half_width, 0.1 + half_width), abs=2e-3)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.integers(0, 5))
def test_bootstrap_swaps_sides_and_repeats_with_its_seed(pairs, seed):
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    result = paired_bootstrap(a, b, 300, seed, 0.9)
    assert result == paired_bootstrap(a, b, 300, seed, 0.9)
    assert result.difference == pytest.approx((sum(a) - sum(b)) / len(a))
    assert result.difference == pytest.approx(-paired_bootstrap(b, a, 300, seed, 0.9).difference)
    assert -1 - 1e-9 <= result.low <= result.high <= 1 + 1e-9


def test_pooling_is_the_mean_of_the_seeds():
    samples = [{"q1": 1, "q2": 0}, {"q1": 1, "q2": 1, "q3": 0, "q4": 0}]
    assert pooled_bootstrap(samples, 100, 0, 0.95).difference == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_the_same_answers_again_are_no_more_questions():
    """Repeating a seed adds no question, so it must not narrow the interval; new questions do."""
    gains = {f"q{i}": int(i % 4 == 0) for i in range(80)}
    other = {f"r{i}": gain for i, gain in enumerate(gains.values())}
    once = pooled_bootstrap([gains], 5000, 0, 0.95)
    twice = pooled_bootstrap([gains, gains], 5000, 0, 0.95)
    apart = pooled_bootstrap([gains, other], 5000, 0, 0.95)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=0.02)
    assert apart.high - apart.low < 0.8 * (once.high - once.low)


def test_pooling_refuses_a_seed_without_questions():
    for samples in ([], [{}], [{"q": 1}, {}]):
        with pytest.raises(ValueError, match="at least one question"):
            pooled_bootstrap(samples, 10, 0, 0.95)


def test_unpaired_answers_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        mcnemar_exact([True, True], [True])
    with pytest.raises(ValueError, match="shorter"):
        paired_bootstrap([True, True], [True], 10, 0, 0.95)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04; the last may not fall below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_the_raw_and_bonferroni(p_values):
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw <= adjusted <= min(1.0, len(p_values) * raw) + 1e-12


def test_minimum_detectable_difference_by_hand():
    # (1.95996 + 0.84162) sqrt(2 * .25 / 1000) = 2.80158 * 0.0223607
    assert minimum_detectable_difference(1000, 0.5) == pytest.approx(0.062645, abs=1e-6)
    assert minimum_detectable_difference(4000, 0.5) == pytest.approx(0.062645 / 2, abs=1e-6)
    assert minimum_detectable_difference(1000, 0.5, power=0.9) > minimum_detectable_difference(1000, 0.5)


class TestMcNemarOverSeeds:
    def test_one_seed_is_mcnemars_test(self):
        a = [True] * 9 + [False] * 2 + [True] * 5
        b = [False] * 9 + [True] * 2 + [True] * 5
        gains = {str(i): int(x) - int(y) for i, (x, y) in enumerate(zip(a, b, strict=True))}
        # 11 discordant, 2 one way: 2 * (1 + 11 + 55) / 2048
        assert mcnemar_pooled([gains]) == mcnemar_exact(a, b) == pytest.approx(2 * 67 / 2048)

    def test_a_question_counts_once_over_its_seeds(self):
        gains = {"a": 1, "b": 1, "c": 1, "d": -1}
        assert mcnemar_pooled([gains] * 3) == mcnemar_pooled([gains]) == pytest.approx(2 * (1 + 4) / 16)

    def test_gains_are_added_up_before_the_sign_is_taken(self):
        # a: +2, b: +1 - 1 = 0, c: -1; one win against one loss
        assert mcnemar_pooled([{"a": 1, "b": 1, "c": -1}, {"a": 1, "b": -1, "c": 0}]) == 1.0
        assert mcnemar_pooled([{"a": 1, "b": 1}, {"a": 1, "b": 0}]) == pytest.approx(0.5)

    def test_questions_of_several_seeds_stand_side_by_side(self):
        assert mcnemar_pooled([{"s0-a": 1, "s0-b": 1}, {"s1-a": 1, "s1-b": 1}]) == pytest.approx(2 / 16)

    def test_no_difference_is_no_evidence(self):
        assert mcnemar_pooled([{"a": 0}]) == mcnemar_pooled([{"a": 1}, {"a": -1}]) == 1.0

    def test_thousands_of_questions_are_no_burden(self):
        p = mcnemar_pooled([{str(i): 1 if i < 2600 else -1 for i in range(5000)}])
        z = (2600 - 2500 - 0.5) / math.sqrt(5000 / 4)  # normal with continuity correction
        assert p == pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=0.01)
