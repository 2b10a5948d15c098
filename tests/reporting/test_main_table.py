import pytest

from medcritical.reporting.arms import main_table
from medcritical.reporting.measuring import Difference
from medcritical.reporting.pooling import checkpoint_of, last_iterations, pool_seeds
from medcritical.reporting.summary import LedgerEntry, Money
from medcritical.store import Costs


def spent(teach=1000, play=400, money=None):
    return {
        "teach/1": LedgerEntry(stage="teach", costs=Costs(teacher_tokens=teach, seconds=3), money=money),
        "play/1": LedgerEntry(stage="play", costs=Costs(student_tokens=play, seconds=8), money=money),
    }


def lines(sourced):
    return [dict(zip(sourced.table.header, row, strict=True)) for row in sourced.table.rows]


@pytest.fixture
def table_of(make_results, make_measured):
    def make(rows, costs=None, differences=None, intervals=None, confidence=0.95):
        results = make_results(rows, spent={} if costs is None else costs)
        measured = make_measured(main_differences=differences or {}, intervals=intervals or {}, confidence=confidence)
        return main_table(results, last_iterations(pool_seeds(rows)), measured)

    return make


def test_a_line_is_an_arm_at_its_last_iteration(make_row, table_of):
    sourced = table_of([make_row(), make_row("dpo", 1, 110), make_row("dpo", 2, 120), make_row("rs", 1, 104)])
    assert [(line["arm"], line["iteration"], line["accuracy %"]) for line in lines(sourced)] == [
        ("SFT", "0", "50.0"),
        ("DPO", "2", "60.0"),
        ("RS", "1", "52.0"),
    ]


def test_a_note_says_in_what_arms_are_equal(make_row, table_of):
    rows = [make_row(), make_row("dpo", 1, 110, equal="optimizer steps as configured")]
    rows += [make_row("rs", 1, 104, equal="trained tokens of dpo"), make_row("nll", 1, equal="trained tokens of dpo")]
    notes = [note for note in table_of(rows).table.notes if note.startswith("equal")]
    assert notes == ["equal between arms: optimizer steps as configured (dpo); trained tokens of dpo (rs, nll)"]
    rows.append(make_row("rs", 1, run="other", artefact="score/x", equal="student tokens of dpo"))
    (note,) = [note for note in table_of(rows).table.notes if note.startswith("equal")]
    assert note.endswith("trained tokens of dpo (demo:rs, nll); student tokens of dpo (other:rs)")
    assert not [note for note in table_of(rows[:1]).table.notes if note.startswith("equal")]


def test_data_sets_are_columns_and_a_missing_one_is_no_zero(make_row, table_of):
    rows = [make_row(), make_row(data="cmexam", run="cmexam", artefact="score/x"), make_row("dpo", 1, 120)]
    sft, dpo = lines(table_of(rows))
    assert (sft["clinic test: accuracy %"], sft["cmexam test: accuracy %"]) == ("50.0", "50.0")
    assert (dpo["clinic test: accuracy %"], dpo["cmexam test: accuracy %"]) == ("60.0", None)
    assert [dpo[name] for name in dpo if name.startswith("cmexam")] == [None] * 5
    assert "run" not in sft


def test_several_runs_of_one_data_set_are_lines_of_their_own(make_row, table_of):
    rows = [make_row(), make_row(run="other", artefact="score/x")]
    assert [(line["arm"], line["run"]) for line in lines(table_of(rows))] == [("SFT", "demo"), ("SFT", "other")]


def test_difference_interval_and_marks(make_row, table_of):
    rows = [make_row(), make_row("dpo", 1, 120), make_row("rs", 1, 104)]
    differences = {
        checkpoint_of(rows[1]): Difference(0.1, 0.05, 0.15, 0.001, 0.002, 1),
        checkpoint_of(rows[2]): Difference(0.02, -0.02, 0.06, 0.4, 0.4, 1),
    }
    sourced = table_of(rows, differences=differences, intervals={checkpoint_of(rows[1]): (0.53, 0.667)})
    sft, dpo, rs = lines(sourced)
    assert (sft["difference"], dpo["difference"], rs["difference"]) == (None, "+10.0**", "+2.0")
    assert (dpo["95 % over questions"], rs["95 % over questions"]) == ("[53.0, 66.7]", None)
    (note,) = [note for note in sourced.table.notes if note.startswith("stars: ")]
    assert note.startswith("stars: exact McNemar test, over questions only; Holm-adjusted over the 2 of this table")


def test_the_heading_is_of_the_runs_own_level_and_says_what_varies(make_row, table_of):
    one, several = [make_row()], [make_row(), make_row(seed=1)]
    assert table_of(one, confidence=0.9).table.header[3] == "90 % over questions"
    assert table_of(several, confidence=0.999).table.header[3] == "99.9 % interval"


def test_an_untrained_student_answered_once_is_one_sample_under_all_seeds(make_row, table_of):
    rows = [make_row("base", seed=seed, artefact="evaluate/base") for seed in range(3)]
    rows += [make_row(seed=seed, num_correct=100 + seed) for seed in range(3)]
    base, sft = lines(table_of(rows))
    assert (base["n"], sft["n"]) == ("200", "3 × 200")
    assert "[low, high] of one seed: 95 % Wilson interval, over questions only" in table_of(rows).table.notes


def test_costs_of_teacher_and_self_are_means_over_seeds_with_their_artefacts(make_row, table_of):
    rows = [make_row("dpo", 1, seed=seed) for seed in (0, 1)]
    costs = {
        rows[0].artefact: spent(),
        rows[1].artefact: {"play/2": LedgerEntry(stage="play", costs=Costs(student_tokens=600))},
    }
    sourced = table_of(rows, costs)
    (line,) = lines(sourced)
    assert (line["teacher tokens"], line["self tokens"], line["teacher s"], line["self s"]) == ("500", "500", "2", "4")
    place = sourced.table.header.index("self tokens")
    assert sourced.sources[0][place] == ("teach/1", "play/1", "play/2")
    assert sourced.sources[0][sourced.table.header.index("accuracy %")] == tuple(row.artefact for row in rows)
    assert sourced.sources[0][0] == ()


def test_money_is_there_where_all_of_a_line_is_priced(make_row, table_of):
    rows = [make_row("dpo", 1), make_row("rs", 1)]
    paid = Money(currency="USD", teacher=0.5, student=0.25, judge=0.0)
    unpriced = {"play/3": LedgerEntry(stage="play", costs=Costs(student_tokens=1))}
    dpo, rs = lines(table_of(rows, {rows[0].artefact: spent(money=paid), rows[1].artefact: unpriced}))
    assert (dpo["teacher USD"], dpo["self USD"]) == ("1.0000", "0.5000")
    assert (rs["teacher USD"], rs["self USD"]) == (None, None)
