import pytest

from medcritical.reporting.crossover import Comparison, compare_lines, crossover_table
from medcritical.reporting.pooling import pool_seeds


def test_two_straight_lines_cross_where_arithmetic_says():
    # 0.5 + 0.1 x / 100 and 0.55 + 0.02 x / 100 meet where 0.08 x / 100 = 0.05
    found = compare_lines([(0, 0.5), (100, 0.6)], [(0, 0.55), (100, 0.57)])
    assert found == Comparison(pytest.approx(-0.05), 0, 100, (pytest.approx(62.5),))


def test_lines_are_compared_only_where_both_are():
    found = compare_lines([(0, 0.5), (50, 0.6)], [(20, 0.4), (100, 0.9)])
    assert found is not None
    assert (found.low, found.high) == (20, 50)
    assert compare_lines([(0, 0.5), (10, 0.6)], [(10, 0.5), (20, 0.6)]) is None
    assert compare_lines([], [(0, 0.5), (1, 0.5)]) is None


def test_a_touch_is_no_crossing_and_a_crossing_in_a_point_is_one():
    roof = [(0, 0.5), (1, 0.6), (2, 0.5)]
    assert compare_lines(roof, [(0, 0.6), (2, 0.6)]).crossings == ()
    assert compare_lines([(0, 0.4), (1, 0.6), (2, 0.8)], [(0, 0.6), (2, 0.6)]).crossings == (1.0,)


def test_equal_lines_have_no_leader():
    assert compare_lines([(0, 0.5), (1, 0.6)], [(0, 0.5), (1, 0.6)]) == Comparison(0.0, 0, 1, ())


def test_the_table_starts_from_stage_1_and_says_who_is_ahead(make_row):
    rows = [
        make_row(student_tokens=0, artefact="score/s"),
        make_row("dpo", 1, 104, student_tokens=100),
        make_row("dpo", 2, 140, student_tokens=200),
        make_row("rs", 1, 120, student_tokens=100),
        make_row("rs", 2, 120, student_tokens=200),
    ]
    vote = make_row("vote", 0, 130, student_tokens=150, title="VOTE")  # asks stage 1 again: no line of its own here
    sourced = crossover_table(pool_seeds([*rows, vote]))
    (line,) = sourced.table.rows  # all spent the same teacher tokens: no range to compare on
    # 52 + 18 (x - 100) / 100 = 60
    assert line == ("clinic test", "DPO", "RS", "student tokens", "RS", "0 … 200", "144")
    assert set(sourced.sources[0][6]) == {row.artefact for row in rows[1:]}
