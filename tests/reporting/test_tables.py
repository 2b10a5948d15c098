import csv
import io

import pytest

from configurations import configure
from medcritical.reporting.ledger import cost_table
from medcritical.reporting.markup import display_width, to_csv, to_markdown
from medcritical.reporting.pooling import Difference, checkpoint_of
from medcritical.reporting.tables import Table, result_table


def cells(table: Table, row: int) -> dict[str, str | None]:
    return dict(zip(table.header, table.rows[row], strict=True))


def test_a_line_states_accuracy_interval_shares_and_difference(make_row):
    sft, dpo = make_row(), make_row("dpo_self", 1, 121)
    table = result_table([sft, dpo], {checkpoint_of(dpo): Difference(0.105, 0.021, 0.19, 0.006, 0.012)}, "sft")
    assert cells(table, 1) == {
        "arm": "DPO_SELF",
        "iteration": "1",
        "accuracy %": "60.5",
        "interval": "[53.5, 67.5]",
        "sound %": "50.5",
        "unparsed %": "1.5",
        "difference": "+10.5",
        "its interval": "[+2.1, +19.0]",
        "p (Holm)": "0.012*",
        "n": "200",
    }
    assert table.notes == (
        "clinic test: chance 25.0 %, always the commonest letter 27.5 %",
        "[low, high]: Wilson interval, 0.95 confidence",
        "difference: percentage points to arm 'sft', paired by question and pooled over seeds; its interval: bootstrap over "
        "questions, the trained models held fixed",
        "p (Holm): exact McNemar test of that difference, a question counted once over its seeds, adjusted over the 1 of this "
        "table; * < 0.05, ** < 0.01, *** < 0.001",
        # (1.960 + 0.842) * sqrt(2 * 0.5 * 0.5 / 200) = 0.140
        "clinic test: minimum detectable difference 14.0 points (n = 200 at accuracy 50.0 %, 80% power, level 0.05, unpaired; "
        "pairing lowers it)",
    )


def test_missing_is_a_dash_and_zero_is_zero(make_row, make_results):
    rows = [make_row(sound=None, teacher_tokens=None), make_row("dpo", 1, sound=0, teacher_tokens=0)]
    results, costs = result_table(rows, {}, None), cost_table(make_results(rows))
    assert [row[results.header.index("sound %")] for row in results.rows] == [None, "0.0"]
    assert [row[costs.header.index("teacher tokens")] for row in costs.rows] == [None, "0"]
    sft, dpo = to_markdown(results).splitlines()[2:4]
    assert sft.split("|")[5].strip() == "–"
    assert dpo.split("|")[5].strip() == "0.0"
    assert dpo.split("|")[7].strip() == "–"  # no difference was taken
    assert next(csv.DictReader(io.StringIO(to_csv(results))))["sound %"] == ""
    assert not any("difference:" in note for note in results.notes)


def test_a_loss_keeps_its_sign(make_row):
    dpo = make_row("dpo", 1, 90)
    table = result_table([dpo], {checkpoint_of(dpo): Difference(-0.05, -0.12, 0.0, 0.2, 0.4)}, "sft")
    assert cells(table, 0)["difference"] == "-5.0"
    assert cells(table, 0)["its interval"] == "[-12.0, +0.0]"
    assert cells(table, 0)["p (Holm)"] == "0.400"


@pytest.mark.parametrize(
    ("p", "shown"),
    [(1.0, "1.000"), (0.05, "0.050"), (0.0499, "0.050*"), (0.01, "0.010*"), (0.0099, "0.010**"), (0.0009, "<0.001***")],
)
def test_marks_follow_the_adjusted_p_value(make_row, p, shown):
    dpo = make_row("dpo", 1)
    table = result_table([dpo], {checkpoint_of(dpo): Difference(0.1, 0.0, 0.2, 0.0, p)}, "sft")
    assert cells(table, 0)["p (Holm)"] == shown


def test_what_a_judge_left_open_has_a_column_and_the_judge_a_note(make_row):
    rows = [make_row(verifier="QwQ-32B", undecided=7, unparsed=0)]
    table = result_table(rows, {}, None)
    assert cells(table, 0)["undecided %"] == "3.5"
    assert table.notes[-1] == "right or wrong: decided by the LLM judge 'QwQ-32B'"
    assert "undecided %" not in result_table([make_row()], {}, None).header


def test_the_detectable_difference_is_taken_at_the_baseline(make_row):
    table = result_table([make_row(num_correct=20), make_row("dpo", 1, 180)], {}, "sft")
    # 2.8016 * sqrt(2 * 0.1 * 0.9 / 200) = 0.0840; at the mean of both, 0.5, it would be 0.140
    assert "minimum detectable difference 8.4 points (n = 200 at accuracy 10.0 %" in table.notes[-1]


def test_several_seeds_show_mean_and_range(make_row, make_results):
    rows = [make_row(num_correct=count, seed=seed) for seed, count in enumerate((100, 110, 126))]
    table = result_table(rows, {}, None)
    assert cells(table, 0)["accuracy %"] == "56.0"
    assert cells(table, 0)["interval"] == "50.0 … 63.0"
    assert cells(table, 0)["n"] == "3 × 200"
    assert "Wilson" not in " ".join(table.notes)
    assert cells(cost_table(make_results(rows)), 0)["seconds"] == "41"


def test_run_data_and_beta_are_columns_only_where_they_differ(make_row):
    assert result_table([make_row(), make_row("dpo", 1)], {}, None).header[:2] == ("arm", "iteration")
    rows = [make_row(), make_row(run="other", split="dev"), *(make_row("dpo", 1, beta=beta) for beta in (0.1, 0.25))]
    table = result_table(rows, {}, None)
    assert table.header[:5] == ("arm", "run", "data", "beta", "iteration")
    assert table.rows[1][:5] == ("DPO", "demo", "clinic test", "0.1", "1")
    assert table.rows[3][:5] == ("SFT", "other", "clinic dev", None, "0")
    assert sum("chance" in note for note in table.notes) == 2
    assert sum("detectable" in note for note in table.notes) == 2


def test_result_table_does_not_depend_on_seconds(make_row):
    first, second = (result_table([make_row(seconds=seconds)], {}, None) for seconds in (1.0, 99.0))
    assert to_markdown(first).encode() == to_markdown(second).encode()


@pytest.mark.parametrize(
    ("text", "width"), [("SFT", 3), ("自我纠错", 8), ("纠错 DPO", 8), ("é", 1), ("e\u0301", 1), ("ＡＢ", 4), ("–", 1)]
)
def test_display_width(text, width):
    assert display_width(text) == width


def test_columns_line_up_with_chinese_titles(make_row):
    rows = [make_row(title="自我纠错"), make_row("dpo", 1, title="DPO (self)"), make_row("rs", 1, title="拒绝采样 SFT")]
    lines = to_markdown(result_table(rows, {}, None)).splitlines()[:5]
    assert len({display_width(line) for line in lines}) == 1
    bars = [[display_width(line[:place]) for place, char in enumerate(line) if char == "|"] for line in lines]
    assert all(places == bars[0] for places in bars)
    assert lines[1].startswith("| ---")
    assert lines[1].endswith("-: |")


def test_the_default_experiments_table_fits_150_columns(make_row):
    titles = [arm.title for arm in configure().arms.values()]
    size = {"num_questions": 1000, "accuracy": 0.6, "ci_low": 0.569, "ci_high": 0.63}
    rows = [make_row(title, 0, 600, title=title, **size) for title in titles]
    widest = Difference(-0.608, -0.638, -0.578, 0.0, 0.0)
    table = result_table(rows, {checkpoint_of(row): widest for row in rows}, "sft")
    assert len(titles) > 3
    assert max(display_width(line) for line in to_markdown(table).split("\n\n")[0].splitlines()) <= 150


def test_a_title_cannot_break_the_table(make_row):
    title = 'a | b\nc, "d"'
    table = result_table([make_row(title=title)], {}, None)
    assert len(to_markdown(table).split("\n\n")[0].splitlines()) == 3
    assert "a \\| b c" in to_markdown(table)
    assert next(csv.DictReader(io.StringIO(to_csv(table), newline="")))["arm"] == title


def test_an_empty_table_is_a_header():
    assert to_markdown(Table(("arm", "n"), ())) == "| arm |   n |\n| --- | --: |\n"
    assert to_csv(Table(("arm", "n"), ())) == "arm,n\n"
