import pytest

from medcritical.errors import DataError
from medcritical.reporting.pooling import checkpoint_of, choose_baseline, group_replicates, pool_seeds, unique_rows


def test_seeds_of_a_checkpoint_are_pooled(make_row):
    (pool,) = pool_seeds(
        [make_row(num_correct=120, seed=2), make_row(num_correct=100, seed=0), make_row(num_correct=110, seed=1)]
    )
    assert [row.seed for row in pool.rows] == [0, 1, 2]
    assert pool.accuracy == pytest.approx(0.55)
    assert pool.samples == list(pool.rows)


def test_a_replicate_is_the_three_seeds_together(make_row):
    seeds = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    rows = [
        make_row(data_seed=data, teacher_seed=teacher, seed=seed, artefact=f"evaluate/{data}{teacher}{seed}")
        for data, teacher, seed in reversed(seeds)
    ]
    (pool,) = pool_seeds(rows)
    assert [row.replicate for row in pool.rows] == seeds


def test_what_was_scored_once_is_one_sample_under_all_its_seeds(make_row):
    rows = [make_row("base", seed=seed, num_correct=90 + 10 * (seed > 1), artefact=f"x{seed > 1}") for seed in range(3)]
    (pool,) = pool_seeds(rows)
    assert (len(pool.rows), [row.artefact for row in pool.samples]) == (3, ["xFalse", "xTrue"])
    assert pool.accuracy == pytest.approx(0.475)


@pytest.mark.parametrize(
    ("replicates", "groups"),
    [
        ([(0, 0, 0), (0, 0, 1), (0, 0, 2)], [[0], [1], [2]]),  # one world: seeds of training count
        ([(0, 0, 0), (1, 1, 1), (2, 2, 2)], [[0], [1], [2]]),
        ([(0, 0, 0), (1, 0, 0), (2, 0, 0)], [[0], [1], [2]]),
        ([(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)], [[0, 1], [2, 3]]),
        ([(0, 0, 0), (0, 0, 1), (1, 0, 0)], [[0, 1], [2]]),
        ([(0, 5, 0), (0, 6, 0), (0, 5, 1), (0, 6, 1)], [[0, 2], [1, 3]]),  # of the teacher
        ([(0, 5, 0), (0, 6, 0), (1, 5, 0), (1, 6, 0)], [[0, 1], [2, 3]]),  # of questions before those of the teacher
    ],
)
def test_replicates_of_one_world_are_a_group_where_worlds_vary(replicates, groups):
    assert group_replicates(replicates) == groups


def test_groups_weigh_alike(make_row):
    rows = [make_row(num_correct=100, seed=seed) for seed in (0, 1, 2)]
    (pool,) = pool_seeds([*rows, make_row(num_correct=160, data_seed=1, artefact="score/other")])
    assert pool.accuracy == pytest.approx((0.5 + 0.8) / 2)


def test_a_mean_with_a_missing_value_is_missing(make_row):
    (pool,) = pool_seeds([make_row(seed=0), make_row(seed=1)])
    assert pool.mean([4, 8]) == 6
    assert pool.mean([0, 0]) == 0
    assert pool.mean([4, None]) is None


def test_arms_keep_their_order_and_iterations_rise(make_row):
    rows = [
        make_row(),
        make_row("dpo_b", 2),
        make_row("dpo_a", 1),
        make_row("dpo_b", 1),
        make_row("dpo_b", 1, beta=0.05),
    ]
    keys = [(pool.checkpoint.arm, pool.checkpoint.beta, pool.checkpoint.iteration) for pool in pool_seeds(rows)]
    assert keys == [("sft", None, 0), ("dpo_b", 0.05, 1), ("dpo_b", 0.1, 1), ("dpo_b", 0.1, 2), ("dpo_a", 0.1, 1)]


def test_a_shared_artefact_counts_once(make_row):
    rows = [make_row(), make_row(), make_row(seed=1)]
    assert unique_rows(rows) == [rows[0], rows[2]]
    assert len(pool_seeds(rows)[0].rows) == 2


def test_one_artefact_with_two_results_is_refused(make_row):
    with pytest.raises(DataError, match=r"made twice, in two stores, with 100 right answers in one, and 101"):
        unique_rows([make_row("dpo", 1, 100), make_row("dpo", 1, 101)])


def test_one_artefact_can_be_two_seeds_and_two_arms(make_row):
    rows = [make_row("base", artefact="x"), make_row("base", seed=1, artefact="x"), make_row("a", 1, artefact="x")]
    assert unique_rows(rows) == rows


def test_checkpoints_that_no_column_tells_apart_are_refused(make_row):
    with pytest.raises(DataError, match=r"score/one and score/two.*name="):
        pool_seeds([make_row(artefact="score/one"), make_row(artefact="score/two")])
    assert len(pool_seeds([make_row(artefact="score/one"), make_row(artefact="score/two", run="other")])) == 2


class TestBaseline:
    def choose(self, rows, row, arm):
        pool = choose_baseline(pool_seeds(rows), checkpoint_of(row), arm)
        return None if pool is None else pool.rows[0]

    def test_is_the_only_checkpoint_of_the_arm(self, make_row):
        sft, dpo = make_row(), make_row("dpo", 2)
        assert self.choose([sft, dpo], dpo, "sft") == sft
        assert self.choose([sft, dpo], sft, "sft") is None
        assert self.choose([sft, dpo], dpo, "nobody") is None

    def test_has_the_same_iteration_or_is_the_last(self, make_row):
        control = [make_row("control", iteration) for iteration in (1, 2)]
        rows = [*control, *(make_row("dpo", iteration) for iteration in (1, 2, 3))]
        assert self.choose(rows, rows[2], "control") == control[0]
        assert self.choose(rows, rows[3], "control") == control[1]
        assert self.choose(rows, rows[4], "control") == control[1]

    def test_has_the_same_beta_or_the_only_one(self, make_row):
        rows = [make_row("control", 1, beta=beta) for beta in (0.1, 0.5)]
        assert self.choose([*rows, make_row("dpo", 1, beta=0.5)], make_row("dpo", 1, beta=0.5), "control") == rows[1]
        assert self.choose([*rows, make_row()], make_row(), "control") is None
        assert self.choose([rows[0], make_row()], make_row(), "control") == rows[0]

    def test_is_of_the_same_run_data_and_split(self, make_row):
        rows = [make_row(), make_row(run="other"), make_row(split="dev"), make_row(data="exam")]
        for row in rows:
            dpo = make_row("dpo", 1, run=row.run, split=row.split, data=row.data)
            assert self.choose([*rows, dpo], dpo, "sft") == row
