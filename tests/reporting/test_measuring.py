"""What counts as one in intervals and tests."""

import numpy as np
import pytest

from medcritical.evaluation.statistics import paired_difference
from medcritical.reporting.measuring import average_groups

GRID = [(world, 0, seed) for world in range(4) for seed in range(3)]


def test_samples_of_a_group_are_averaged_question_by_question():
    samples = [{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0}, {"c": 1.0}]
    assert average_groups(samples, [(0, 0, 0), (0, 0, 1), (1, 0, 0)]) == [{"a": 0.5, "b": 0.0}, {"c": 1.0}]
    assert average_groups(samples, [(0, 0, 0), (1, 0, 1), (2, 0, 2)]) == samples
    assert average_groups([], []) == []


def test_intervals_of_a_grid_hold_the_truth_only_where_its_worlds_are_what_counts():
    """Four worlds of 40 questions, three seeds of training in each; a world moves the gain by 4 points, a seed by 2."""
    rng = np.random.default_rng(0)
    truth, tables = 0.05, 500

    def covered(samples) -> bool:
        found = paired_difference(samples, 0.95)
        return found.low <= truth <= found.high

    grouped, apart = 0, 0
    for _ in range(tables):
        values = truth + 0.04 * rng.standard_normal((4, 1, 1)) + 0.02 * rng.standard_normal((4, 3, 1))
        values = values + 0.1 * rng.standard_normal((4, 1, 40)) + 0.1 * rng.standard_normal((4, 3, 40))
        samples = [
            {f"{world}-{name}": gain for name, gain in enumerate(values[world, seed])} for world, _, seed in GRID
        ]
        grouped += covered(average_groups(samples, GRID))
        apart += covered(samples)
    assert grouped / tables == pytest.approx(0.95, abs=0.025)
    assert apart / tables < 0.85
