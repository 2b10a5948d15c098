"""Power by hand, against statsmodels and against simulated experiments."""

import math

import pytest
from statsmodels.stats.power import TTestPower

from medcritical.evaluation.power import Components, components, power, questions_needed, seeds_needed
from medcritical.evaluation.statistics import half_width, mean_parts

NESTED = Components(seed=0.03**2, question=0.0, answer=0.3, num_seeds=3, num_questions=1000)


def gains_of(*values: float, prefix: str = "q") -> dict[str, float]:
    return {f"{prefix}{number}": float(value) for number, value in enumerate(values)}


def test_components_by_hand():
    # The parts of test_statistics: between 1/18, within 1/9, shared 1/18, of three questions each.
    found = components([gains_of(1, 1, 0), gains_of(1, 0, 0)])
    assert (found.question, found.answer, found.seed) == pytest.approx((1 / 6, 1 / 3 - 1 / 6, 0), abs=1e-12)
    assert (found.num_seeds, found.num_questions) == (2, 3)
    # Nested: variance between 0.75 and 0.25 is 1/8, less that of 4 questions with one unlike the others, .25 / 4
    own = components([gains_of(1, 1, 1, 0), gains_of(1, 0, 0, 0, prefix="r")])
    assert (own.seed, own.question, own.answer) == pytest.approx((1 / 8 - 1 / 16, 0, 1 / 4))


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="one seed"):
        components([gains_of(1, 0)])


@pytest.mark.parametrize(("seeds", "questions", "difference"), [(3, 1000, 0.05), (5, 400, 0.04), (10, 1000, 0.02)])
def test_questions_of_each_seeds_own_have_the_power_of_the_t_test(seeds, questions, difference):
    effect = difference / math.sqrt(0.03**2 + 0.3 / questions)
    peer = TTestPower().power(effect, seeds, 0.05)  # counts finds of the wrong sign too, which are few
    assert power(NESTED, difference, seeds, questions, 0.95) == pytest.approx(peer, abs=2e-3)


def test_seeds_and_questions_by_hand():
    # Deviation of a seed's difference: sqrt(.03^2 + .3 / 1000) = 3.464 points. A textbook's t test of 80 % power and a
    # difference of 5 / 3.464 = 1.443 deviations takes 6 seeds: TTestPower().solve_power gives 5.96.
    assert TTestPower().solve_power(0.05 / math.sqrt(0.0012), alpha=0.05, power=0.8) == pytest.approx(5.96, abs=0.01)
    assert seeds_needed(NESTED, 0.05, 1000, 0.95) == 6
    assert seeds_needed(NESTED, 0.05, 1000, 0.99) > 6


def test_no_number_of_questions_makes_up_for_seeds():
    assert questions_needed(NESTED, 0.05, 3, 0.95) is None
    calm = Components(seed=0.0, question=0.0, answer=0.3, num_seeds=3, num_questions=1000)
    needed = questions_needed(calm, 0.05, 3, 0.95)
    assert power(calm, 0.05, 3, needed, 0.95) >= 0.8 > power(calm, 0.05, 3, needed - 1, 0.95)


def test_questions_are_found_where_still_more_of_them_would_find_less():
    """Of two seeds whose quantile is 12.7: at 1,000 questions 34 %, at 10,000 90 %, at 100,000 75 %."""
    variances = Components(seed=0.005**2, question=0.3, answer=0.05, num_seeds=2, num_questions=1000)
    assert power(variances, 0.05, 2, 10_000, 0.95) > 0.85 > 0.8 > power(variances, 0.05, 2, 100_000, 0.95)
    needed = questions_needed(variances, 0.05, 2, 0.95)
    assert 1000 < needed < 10_000
    assert power(variances, 0.05, 2, needed, 0.95) >= 0.8 > power(variances, 0.05, 2, needed - 1, 0.95)


def test_many_seeds_are_a_number_too():
    many = seeds_needed(Components(0.05**2, 0.0, 0.2, 3, 1000), 0.001, 1000, 0.95)
    # (1.960 + 0.842)^2 * (.05^2 + .2 / 1000) / .001^2
    assert many == pytest.approx(2.8016**2 * 0.0027 / 1e-6, rel=1e-3)


def test_no_number_of_seeds_makes_up_for_questions():
    # Questions alone: deviation sqrt(.1 / 1000) = 1 point, so that 2 points are found with 51 % power at the most.
    shared = Components(seed=0.0004, question=0.1, answer=0.2, num_seeds=3, num_questions=1000)
    assert seeds_needed(shared, 0.02, 1000, 0.95) is None
    assert power(shared, 0.02, 1000, 1000, 0.95) == pytest.approx(0.51, abs=0.01)


def test_what_cannot_vary_is_always_found():
    assert power(Components(0.0, 0.0, 0.0, 3, 10), 0.01, 2, 10, 0.95) == 1.0


@pytest.mark.parametrize(
    ("variances", "difference"),
    [
        (Components(seed=0.02**2, question=0.05, answer=0.25, num_seeds=5, num_questions=500), 0.05),
        (Components(seed=0.02**2, question=0.05, answer=0.25, num_seeds=3, num_questions=500), 0.08),
        (Components(seed=0.01**2, question=0.1, answer=0.2, num_seeds=10, num_questions=500), 0.05),
        (Components(seed=0.0, question=0.1, answer=0.2, num_seeds=3, num_questions=500), 0.06),
    ],
)
def test_simulated_experiments_find_as_often_as_said(variances, difference):
    import numpy as np

    rng = np.random.default_rng(0)
    seeds, questions, found = variances.num_seeds, variances.num_questions, []
    for _ in range(10):
        gains = difference + math.sqrt(variances.seed) * rng.standard_normal((200, seeds, 1))
        gains = gains + math.sqrt(variances.question) * rng.standard_normal((200, 1, questions))
        parts = mean_parts(gains + math.sqrt(variances.answer) * rng.standard_normal((200, seeds, questions)))
        found.append(parts.mean > half_width(parts, 0.05))
    assert np.mean(found) == pytest.approx(power(variances, difference, seeds, questions, 0.95), abs=0.035)
