"""Intervals and tests against hand-worked and published numbers, and what must hold for any answers."""

import math
import subprocess
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp

from medcritical.evaluation.statistics import (
    accuracy_interval,
    as_array,
    holm,
    mcnemar_exact,
    mean_parts,
    minimum_detectable_difference,
    paired_difference,
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
    assert mcnemar_exact(1, 7) == pytest.approx(18 / 256)
    assert mcnemar_exact(7, 1) == mcnemar_exact(1, 7)
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(1, 1) == 1.0  # 3 / 2, capped


def test_mcnemar_of_thousands_that_differ():
    assert mcnemar_exact(3000, 0) < 1e-300


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04; the last may not fall below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_the_raw_and_bonferroni(p_values):
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw - 1e-12 <= adjusted <= min(1.0, len(p_values) * raw) + 1e-12


def test_minimum_detectable_difference_by_hand():
    # (1.95996 + 0.84162) sqrt(2 * .25 / 1000) = 2.80158 * 0.0223607
    assert minimum_detectable_difference(1000, 0.5, power=0.8, confidence=0.95) == pytest.approx(0.062645, rel=1e-3)
    assert minimum_detectable_difference(4000, 0.5, power=0.8, confidence=0.95) == pytest.approx(0.062645 / 2, rel=1e-3)
    # (2.57583 + 0.84162) sqrt(2 * .25 / 1000)
    assert minimum_detectable_difference(1000, 0.5, power=0.8, confidence=0.99) == pytest.approx(0.076417, rel=1e-3)


@pytest.mark.parametrize("confidence", [0.05, 0.1, 0.2, 0.2 + 1e-8, 0.201])
def test_a_level_at_which_chance_is_found_as_often_detects_anything(confidence):
    least = minimum_detectable_difference(1000, 0.5, power=0.8, confidence=confidence)
    assert 0 <= least < 0.003


def gains_of(*values: float, prefix: str = "q") -> dict[str, float]:
    return {f"{prefix}{number}": float(value) for number, value in enumerate(values)}


class TestParts:
    def test_crossed_by_hand(self):
        # Questions a, b, c; seed 0: 1 1 0, seed 1: 1 0 0. Means 2/3 and 1/3, variance between them (1/3)^2 / 2 = 1/18.
        parts = mean_parts(as_array([gains_of(1, 1, 0), gains_of(1, 0, 0)]))
        assert (parts.mean, parts.between) == pytest.approx((1 / 2, 1 / 18))
        # Each seed: sum of squares 2/3, over (3 - 1) * 3 is 1/9. Products: 1/3*2/3 - 1/3*1/3 + 2/3*1/3 = 1/3, over 6: 1/18.
        assert (parts.within, parts.shared) == pytest.approx((1 / 9, 1 / 18))
        assert parts.over_questions == pytest.approx((1 / 9 + 1 / 18) / 2)
        assert parts.of_seeds == pytest.approx(1 / 18 + 1 / 18 - 1 / 9)

    def test_crossed_is_the_two_way_analysis_of_variance(self):
        import numpy as np

        values = np.random.default_rng(0).integers(0, 2, (4, 50)).astype(float)
        values[:, :20] = values[0, :20]
        centre, seeds, questions = values.mean(), values.mean(1, keepdims=True), values.mean(0, keepdims=True)
        of_question = 4 * ((questions - centre) ** 2).sum() / 49
        of_rest = ((values - seeds - questions + centre) ** 2).sum() / (3 * 49)
        parts = mean_parts(values)
        assert parts.shared == pytest.approx((of_question - of_rest) / (4 * 50))
        assert parts.over_questions == pytest.approx(of_question / (4 * 50))

    def test_nested_shares_nothing(self):
        parts = mean_parts(as_array([gains_of(1, 0, 1), gains_of(0, 0, 1, prefix="r")]))
        assert parts.shared == 0
        assert (parts.mean, parts.num_questions) == (pytest.approx(0.5), 6)

    def test_half_of_the_questions_in_common_share_half(self):
        common = gains_of(1, 0, 1, 0, 1, 0)
        whole = mean_parts(as_array([common, common])).shared
        halves = [common | gains_of(1, 0, 1, 0, 1, 0, prefix=prefix) for prefix in "rs"]
        # 6 of 12 questions are common: n_common / (n n) = 6 / 144 instead of 1 / 6
        assert mean_parts(as_array(halves)).shared == pytest.approx(whole * 6 / 144 * 6)

    def test_a_seed_without_questions_is_refused(self):
        for samples in ([], [{}], [gains_of(1), {}]):
            with pytest.raises(ValueError, match="at least one question"):
                as_array(samples)


class TestPairedDifference:
    def test_one_seed_is_mcnemars_test_and_an_interval_over_questions(self):
        gains = gains_of(*[1] * 9, *[-1] * 2, *[0] * 89)
        found = paired_difference([gains], 0.95)
        # 11 discordant, 2 one way: 2 * (1 + 11 + 55) / 2048
        assert (found.num_seeds, found.p) == (1, pytest.approx(2 * 67 / 2048))
        # Wald with half a question added to either side: (11 + 1 - 100 * .07^2 (sample variance)) / 100^2
        variance = (100 / 99 * (11 - 100 * 0.07**2) + 1) / 100**2
        assert found.value == pytest.approx(0.07)
        assert found.high - found.value == pytest.approx(t.isf(0.025, 99) * math.sqrt(variance), rel=1e-3)

    def test_questions_of_each_seeds_own_are_the_t_test_over_seeds(self):
        seeds = [
            gains_of(*[1] * won, *[0] * (20 - won), prefix=prefix) for won, prefix in ((4, "a"), (7, "b"), (3, "c"))
        ]
        found, peer = paired_difference(seeds, 0.9), ttest_1samp([4 / 20, 7 / 20, 3 / 20], 0)
        bounds = peer.confidence_interval(0.9)
        assert (found.value, found.p) == pytest.approx((14 / 60, peer.pvalue))
        assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))

    def test_the_same_questions_by_hand(self):
        # The parts of TestParts, from which the quantile is a mean weighed 1/36 (df 1: 12.706) to 1/18 (df 2: 4.303).
        found = paired_difference([gains_of(1, 1, 0), gains_of(1, 0, 0)], 0.95)
        half = (12.7062 / 36 + 4.30265 / 18) / math.sqrt(1 / 36 + 1 / 18)
        assert half > 1
        assert (found.low, found.high) == (-1.0, 1.0)
        narrow = paired_difference([gains_of(1, 1, 0), gains_of(1, 0, 0)], 0.5)  # quantiles 1 and 0.8165
        assert narrow.high - narrow.value == pytest.approx((1 / 36 + 0.81650 / 18) / math.sqrt(1 / 12), abs=1e-5)

    def test_the_interval_at_the_p_value_just_reaches_zero(self):
        for samples in (
            [gains_of(1, 1, 0, 1, 0, 0, 1, 1), gains_of(1, 0, 0, 1, 0, 1, 1, 0), gains_of(1, 1, 1, 1, 0, -1, 0, 0)],
            [gains_of(1, 1, 0), gains_of(1, 0, 0, prefix="r")],
        ):
            found = paired_difference(samples, 0.95)
            assert 0 < found.p < 1
            assert paired_difference(samples, 1 - found.p).low == pytest.approx(0, abs=1e-9)

    def test_no_gain_is_no_evidence_and_still_an_interval(self):
        for samples in ([gains_of(*[0] * 40)], [gains_of(*[0] * 40)] * 3):
            found = paired_difference(samples, 0.95)
            assert (found.value, found.p) == (0, 1)
            # one question in forty, won and lost by halves: sqrt(1) / 40
            assert found.high == pytest.approx(t.isf(0.025, 39) / 40 / (1 if len(samples) == 1 else math.sqrt(3)))

    def test_seeds_that_agree_leave_the_interval_over_questions(self):
        gains = gains_of(*[1] * 20, *[0] * 60)
        one, three = paired_difference([gains], 0.95), paired_difference([gains] * 3, 0.95)
        assert three.high == pytest.approx(one.high, abs=0.003)
        assert 0 < three.p < 1e-5
        assert three.is_flat
        assert not one.is_flat
        assert not paired_difference([gains, gains_of(*[1] * 21, *[0] * 59)], 0.95).is_flat

    def test_half_a_question_is_added_to_each_seeds_own(self):
        seeds = [gains_of(*[0] * 40, prefix=prefix) for prefix in "abc"]
        found = paired_difference(seeds, 0.95)
        assert found.high == pytest.approx(t.isf(0.025, 119) * math.sqrt(1 / 40**2 / 3))  # and not 1 / 120^2

    def test_seeds_that_share_few_questions_have_no_variance_below_zero(self):
        """Two seeds with two questions in common, which they answer the other way round."""
        first = gains_of(*[0] * 30, prefix="r") | {"a": 1.0, "b": -1.0}
        other = gains_of(*[0] * 30, prefix="s") | {"a": -1.0, "b": 1.0}
        parts = mean_parts(as_array([first, other]))
        assert parts.within + parts.shared < 0
        assert parts.over_questions == pytest.approx(parts.within / 2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = paired_difference([first, other], 0.95)
        assert -1 <= found.low <= found.value <= found.high <= 1

    def test_more_variation_between_seeds_is_a_wider_interval(self):
        def width(*won: int) -> float:
            found = paired_difference([gains_of(*[1] * each, *[0] * (100 - each)) for each in won], 0.95)
            return found.high - found.low

        assert width(40, 40, 40) < width(39, 40, 41) < width(30, 40, 50)

    @given(st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=4, max_size=4), min_size=1, max_size=4))
    def test_sides_can_be_swapped(self, values):
        samples = [gains_of(*each) for each in values]
        found = paired_difference(samples, 0.9)
        swapped = paired_difference([{name: -gain for name, gain in each.items()} for each in samples], 0.9)
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert 0 <= found.p <= 1
        assert (swapped.value, swapped.low, swapped.p) == pytest.approx((-found.value, -found.high, found.p))


class TestAccuracyInterval:
    def test_one_seed_is_wilsons(self):
        assert accuracy_interval([gains_of(*[1] * 81, *[0] * 182)], 0.95) == wilson_interval(81, 263, 0.95)

    def test_several_seeds_are_as_wide_as_the_t_interval_far_from_the_edges(self):
        seeds = [
            gains_of(*[1] * right, *[0] * (1000 - right), prefix=prefix)
            for right, prefix in ((500, "a"), (505, "b"), (498, "c"))
        ]
        peer = ttest_1samp([0.5, 0.505, 0.498], 0).confidence_interval(0.95)
        assert accuracy_interval(seeds, 0.95) == pytest.approx((peer.low, peer.high), abs=2e-4)

    @pytest.mark.parametrize("right", [0, 50])
    def test_all_right_and_all_wrong_are_wilsons_over_the_questions(self, right):
        seeds = [gains_of(*[1] * right, *[0] * (50 - right))] * 3
        assert accuracy_interval(seeds, 0.95) == wilson_interval(right, 50, 0.95)

    @given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
    def test_holds_the_mean_and_stays_a_share(self, values):
        low, high = accuracy_interval([gains_of(*each) for each in values], 0.95)
        mean = sum(map(sum, values)) / 5 / len(values)
        assert 0 <= low <= mean + 1e-12
        assert mean - 1e-12 <= high <= 1


def test_importing_statistics_loads_nothing_heavy():
    code = "import medcritical.evaluation.power, medcritical.evaluation.statistics, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint({"numpy", "scipy", "statsmodels", "pandas", "torch"})
