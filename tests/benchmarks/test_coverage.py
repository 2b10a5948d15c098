"""Intervals over seeds and questions hold the truth as often as they say: the table of docs/statistics.md, its edges again."""

import pytest


@pytest.fixture
def coverage(load_script):
    return load_script("coverage")


@pytest.mark.parametrize("is_difference", [False, True])
@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize("deviation", [0.001, 0.035])
def test_the_same_questions(coverage, is_difference, num_seeds, deviation):
    case = coverage.Case(num_seeds, deviation, is_difference, is_nested=False)
    assert coverage.coverage(case, 2000, seed=1)[0] == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("is_difference", [False, True])
@pytest.mark.parametrize(("num_seeds", "deviation"), [(3, 0.001), (3, 0.035), (5, 0.02)])
def test_questions_of_each_seeds_own(coverage, is_difference, num_seeds, deviation):
    case = coverage.Case(num_seeds, deviation, is_difference, is_nested=True)
    assert coverage.coverage(case, 2000, seed=1)[0] == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("is_difference", [False, True])
@pytest.mark.parametrize("num_questions", [100, 1000])
def test_one_seed_over_its_questions(coverage, is_difference, num_questions):
    case = coverage.Case(1, 0.0, is_difference, is_nested=False, num_questions=num_questions)
    assert coverage.coverage(case, 2000, seed=1)[0] == pytest.approx(0.95, abs=0.02)


def test_an_accuracy_near_one(coverage):
    case = coverage.Case(5, 0.01, is_difference=False, is_nested=False, accuracy=0.97)
    assert coverage.coverage(case, 2000, seed=1)[0] == pytest.approx(0.95, abs=0.02)


def test_questions_alone_do_not_cover_what_seeds_vary(coverage):
    """What the tables showed before: the test above can fail."""
    case = coverage.Case(3, 0.035, is_difference=False, is_nested=False)
    assert coverage.coverage(case, 500, method=coverage.questions_only)[0] < 0.75
