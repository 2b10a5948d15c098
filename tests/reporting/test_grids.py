import math

from medcritical.reporting.grids import alarm_list, beta_grid, mean_and_deviation, pair_quality_table
from medcritical.reporting.pooling import pool_seeds
from medcritical.reporting.trail import Iteration, Training


def lines(sourced):
    return [dict(zip(sourced.table.header, row, strict=True)) for row in sourced.table.rows]


def test_mean_and_deviation_by_hand():
    assert mean_and_deviation([0.5, 0.6, 0.7]) == "60.0 ± 10.0"
    assert mean_and_deviation([0.5, 0.6]) == f"55.0 ± {10 / math.sqrt(2):.1f}"
    assert mean_and_deviation([0.612]) == "61.2"


def test_grid_is_beta_by_iteration_and_what_was_not_run_is_missing(make_row):
    rows = [make_row(seed=seed, num_correct=100 + 20 * seed) for seed in (0, 1)]
    rows += [
        make_row("dpo", 1, beta=beta, seed=s, num_correct=120, artefact=f"e/{beta}{s}")
        for beta in (0.1, 0.3)
        for s in (0, 1)
    ]
    rows += [make_row("dpo", 2, beta=0.3, num_correct=130)]
    sourced = beta_grid(pool_seeds(rows))
    assert sourced.table.header == ("arm", "beta", "T = 0", "T = 1", "T = 2")
    assert sourced.table.rows == (
        ("SFT", None, "55.0 ± 7.1", None, None),
        ("DPO", "0.1", None, "60.0 ± 0.0", None),
        ("DPO", "0.3", None, "60.0 ± 0.0", "65.0 (1)"),
    )
    assert sourced.sources[2] == ((), (), (), ("e/0.30", "e/0.31"), ("score/dpo-2-0",))


def iteration(row, artefact, **quality):
    counted = {
        "pairs": 4,
        "chosen_alone": 2,
        "corrections_tried": 8,
        "corrections_verified": 2,
        "malformed_attempts": 0,
    }
    counted |= {"duplicate_pairs": 0, "sound_chosen": None, "overlap": 0.5, "length_gap_words": 1.0}
    return Iteration(row, pairs=artefact, quality=counted | quality)


def test_pair_quality_is_a_mean_over_seeds_and_unknown_stays_missing(make_row):
    rows = [make_row("dpo", 1, seed=seed) for seed in (0, 1)]
    found = [iteration(rows[0], "pair/1"), iteration(rows[1], "pair/2", pairs=6, overlap=0.7, corrections_verified=4)]
    sourced = pair_quality_table(found)
    (line,) = lines(sourced)
    assert (line["pairs"], line["overlap %"], line["corrections verified %"]) == ("5.0", "60.0", "37.5")
    assert line["sound chosen %"] is None
    assert sourced.sources[0][sourced.table.header.index("pairs")] == ("pair/1", "pair/2")
    assert sourced.sources[0][sourced.table.header.index("sound chosen %")] == ()


def test_an_alarm_that_two_checkpoints_share_is_listed_once(make_row):
    training = Training("dpo/1", (), ("Early saturation.",))
    found = [Iteration(make_row("dpo", 1), (training,)), Iteration(make_row("dpo", 1, split="dev"), (training,))]
    assert [line["alarm"] for line in lines(alarm_list(found))] == ["Early saturation."]


def test_an_alarm_of_what_arms_share_names_them_all(make_row):
    found = [Iteration(make_row(arm, 1), play="play/1", play_alarms=("Format collapse.",)) for arm in ("dpo", "rs")]
    (line,) = lines(alarm_list(found))
    assert (line["arm"], line["alarm"]) == ("DPO; RS", "Format collapse.")
