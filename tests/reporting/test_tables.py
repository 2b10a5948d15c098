import csv
import io

import pytest

from configurations import configure
from medcritical.reporting.ledger import cost_table
from medcritical.reporting.markup import display_width, to_csv, to_markdown
from medcritical.reporting.measuring import Difference
from medcritical.reporting.pooling import checkpoint_of, pool_seeds
from medcritical.reporting.tables import Table, result_table, seed_note


def cells(table: Table, row: int) -> dict[str, str | None]:
    return dict(zip(table.header, table.rows[row], strict=True))


def test_a_line_states_accuracy_interval_shares_and_difference(make_row, make_measured):
    sft, dpo = make_row(), make_row("dpo_self", 1, 121)
    difference = Difference(0.105, 0.021, 0.19, 0.006, 0.012, 1)
    measured = make_measured(
        differences={checkpoint_of(dpo): difference}, intervals={checkpoint_of(dpo): (0.535, 0.675)}
    )
    table = result_table([sft, dpo], measured)
    assert cells(table, 1) == {
        "arm": "DPO_SELF",
        "iteration": "1",
        "accuracy %": "60.5",
        "95 % over questions": "[53.5, 67.5]",
        "sound %": "50.5",
        "unparsed %": "1.5",
        "difference": "+10.5",
        "its interval": "[+2.1, +19.0]",
        "p (Holm)": "0.012*",
        "n": "200",
    }
    assert table.notes == (
        "clinic test: chance 25.0 %, always the commonest letter 27.5 %",
        "one seed: intervals and tests are over questions only, and say nothing of what another seed would give",
        "[low, high] of one seed: 95 % Wilson interval, over questions only",
        "difference: percentage points to arm 'sft', paired by seed and question",
        "p (Holm): exact McNemar test, over questions only; Holm-adjusted over the 1 of this table; * < 0.05, ** < 0.01, "
        "*** < 0.001",
        # (1.960 + 0.842) * sqrt(2 * 0.5 * 0.5 / 200) = 0.140
        "clinic test: minimum detectable difference 14.0 points (n = 200 at accuracy 50.0 %, 80% power, level 0.05, unpaired; "
        "pairing lowers it, variation between seeds raises it)",
    )


def test_missing_is_a_dash_and_zero_is_zero(make_row, make_results, make_measured):
    rows = [make_row(sound=None, teacher_tokens=None), make_row("dpo", 1, sound=0, teacher_tokens=0)]
    results, costs = result_table(rows, make_measured(baseline=None)), cost_table(make_results(rows))
    assert [row[results.header.index("sound %")] for row in results.rows] == [None, "0.0"]
    assert [row[costs.header.index("teacher tokens")] for row in costs.rows] == [None, "0"]
    sft, dpo = to_markdown(results).splitlines()[2:4]
    assert sft.split("|")[5].strip() == "–"
    assert dpo.split("|")[5].strip() == "0.0"
    assert dpo.split("|")[7].strip() == "–"  # no difference was taken
    assert next(csv.DictReader(io.StringIO(to_csv(results))))["sound %"] == ""
    assert not any("difference:" in note for note in results.notes)


def test_a_loss_keeps_its_sign(make_row, make_measured):
    dpo = make_row("dpo", 1, 90)
    table = result_table(
        [dpo], make_measured(differences={checkpoint_of(dpo): Difference(-0.05, -0.12, 0.0, 0.2, 0.4, 1)})
    )
    assert cells(table, 0)["difference"] == "-5.0"
    assert cells(table, 0)["its interval"] == "[-12.0, +0.0]"
    assert cells(table, 0)["p (Holm)"] == "0.400"


@pytest.mark.parametrize(
    ("p", "shown"),
    [(1.0, "1.000"), (0.05, "0.050"), (0.0499, "0.050*"), (0.01, "0.010*"), (0.0099, "0.010**"), (0.0009, "<0.001***")],
)
def test_marks_follow_the_adjusted_p_value(make_row, p, shown, make_measured):
    dpo = make_row("dpo", 1)
    table = result_table([dpo], make_measured(differences={checkpoint_of(dpo): Difference(0.1, 0.0, 0.2, 0.0, p, 1)}))
    assert cells(table, 0)["p (Holm)"] == shown


def test_what_a_judge_left_open_has_a_column_and_the_judge_a_note(make_row, make_measured):
    rows = [make_row(verifier="QwQ-32B", undecided=7, unparsed=0)]
    table = result_table(rows, make_measured(baseline=None))
    assert cells(table, 0)["undecided %"] == "3.5"
    assert table.notes[-1] == "right or wrong: decided by the LLM judge 'QwQ-32B'"
    assert "undecided %" not in result_table([make_row()], make_measured(baseline=None)).header


def test_the_detectable_difference_is_taken_at_the_baseline(make_row, make_measured):
    table = result_table([make_row(num_correct=20), make_row("dpo", 1, 180)], make_measured(baseline="sft"))
    # 2.8016 * sqrt(2 * 0.1 * 0.9 / 200) = 0.0840; at the mean of both, 0.5, it would be 0.140
    assert "minimum detectable difference 8.4 points (n = 200 at accuracy 10.0 %" in table.notes[-1]


def test_several_seeds_show_mean_and_an_interval_that_counts_them(make_row, make_results, make_measured):
    rows = [make_row(num_correct=count, seed=seed) for seed, count in enumerate((100, 110, 126))]
    table = result_table(rows, make_measured(intervals={checkpoint_of(rows[0]): (0.4, 0.7)}, confidence=0.9))
    assert cells(table, 0)["accuracy %"] == "56.0"
    assert cells(table, 0)["90 % interval"] == "[40.0, 70.0]"
    assert cells(table, 0)["n"] == "3 × 200"
    assert table.notes[1:] == (
        "3 seeds of training; questions and teacher are the same in all",
        "[low, high] of several seeds: 90 % interval that counts seeds and questions",
    )  # and none of a detectable difference, which would count questions alone
    assert cells(cost_table(make_results(rows)), 0)["seconds"] == "41"


@pytest.mark.parametrize(
    ("seeds", "note"),
    [
        (
            [(0, 0, 0)],
            "one seed: intervals and tests are over questions only, and say nothing of what another seed would give",
        ),
        ([(0, 0, 0), (0, 0, 1)], "2 seeds of training; questions and teacher are the same in all"),
        ([(0, 5, 0), (1, 5, 1)], "2 seeds of questions and training; teacher is the same in all"),
        ([(0, 0, 0), (1, 1, 1), (2, 2, 2)], "3 seeds of questions, teacher and training"),
        ([(0, 0, 0), (1, 0, 0)], "2 seeds of questions; teacher and training are the same in all"),
        ([(0, 0, 0), (1, 1, 0)], "2 seeds of questions and teacher; training is the same in all"),
        ([(0, 0, 0), (0, 1, 1)], "2 seeds of teacher and training; questions are the same in all"),
        (
            [(data, 0, seed) for data in (0, 1) for seed in (0, 1, 2)],
            "6 seeds of questions and training; teacher is the same in all; those with the same seed of questions are averaged "
            "first and count as one: 2 in intervals and tests",
        ),
        (
            [(0, teacher, seed) for teacher in (0, 1) for seed in (0, 1)],
            "4 seeds of teacher and training; questions are the same in all; those with the same seed of the teacher are "
            "averaged first and count as one: 2 in intervals and tests",
        ),
    ],
)
def test_a_note_says_which_seeds_vary(make_row, seeds, note):
    rows = [
        make_row(data_seed=data, teacher_seed=teacher, seed=seed, artefact=f"evaluate/{data}{teacher}{seed}")
        for data, teacher, seed in seeds
    ]
    assert seed_note(pool_seeds(rows)) == note


def test_a_note_says_where_some_have_fewer_seeds(make_row):
    rows = [make_row(seed=0), make_row(seed=1), make_row("dpo", 1)]
    assert seed_note(pool_seeds(rows)).startswith("2 seeds of training, fewer where n says so;")


class TestStars:
    def notes_and_p(self, make_row, make_measured, *num_seeds):
        rows = [make_row(f"dpo{number}", 1) for number in range(len(num_seeds))]
        found = {
            checkpoint_of(row): Difference(0.1, 0.0, 0.2, 0.001, 0.002, number)
            for row, number in zip(rows, num_seeds, strict=True)
        }
        table = result_table(rows, make_measured(differences=found))
        (note,) = [note for note in table.notes if note.startswith("p (Holm): ")]
        return note, [cells(table, number)["p (Holm)"] for number in range(len(rows))]

    def test_each_test_is_called_what_it_is(self, make_row, make_measured):
        note, p = self.notes_and_p(make_row, make_measured, 3, 5)
        assert note.startswith("p (Holm): t test over seeds and questions (Cochran and Cox); Holm-adjusted over the 2")
        assert "McNemar" not in note
        assert p == ["0.002**", "0.002**"]

    def test_a_test_of_one_seed_has_no_stars_beside_one_of_several(self, make_row, make_measured):
        note, p = self.notes_and_p(make_row, make_measured, 3, 1)
        assert "with one seed exact McNemar test, over questions only and without stars" in note
        assert p == ["0.002**", "0.002"]

    def test_seeds_that_all_gain_the_same_have_no_stars(self, make_row, make_measured):
        rows = [make_row(f"dpo{number}", 1) for number in (0, 1)]
        found = {
            checkpoint_of(row): Difference(0.1, 0.0, 0.2, 0.001, 0.002, 3, is_flat)
            for row, is_flat in zip(rows, (True, False), strict=True)
        }
        table = result_table(rows, make_measured(differences=found))
        assert [cells(table, number)["p (Holm)"] for number in (0, 1)] == ["0.002", "0.002**"]
        assert table.notes[-2].startswith("all seeds of 'dpo0' gain the same: interval and p over questions only")


def test_run_data_and_beta_are_columns_only_where_they_differ(make_row, make_measured):
    assert result_table([make_row(), make_row("dpo", 1)], make_measured(baseline=None)).header[:2] == (
        "arm",
        "iteration",
    )
    rows = [make_row(), make_row(run="other", split="dev"), *(make_row("dpo", 1, beta=beta) for beta in (0.1, 0.25))]
    table = result_table(rows, make_measured(baseline=None))
    assert table.header[:5] == ("arm", "run", "data", "beta", "iteration")
    assert table.rows[1][:5] == ("DPO", "demo", "clinic test", "0.1", "1")
    assert table.rows[3][:5] == ("SFT", "other", "clinic dev", None, "0")
    assert sum("chance" in note for note in table.notes) == 2
    assert sum("detectable" in note for note in table.notes) == 2


def test_result_table_does_not_depend_on_seconds(make_row, make_measured):
    first, second = (result_table([make_row(seconds=seconds)], make_measured(baseline=None)) for seconds in (1.0, 99.0))
    assert to_markdown(first).encode() == to_markdown(second).encode()


@pytest.mark.parametrize(
    ("text", "width"), [("SFT", 3), ("自我纠错", 8), ("纠错 DPO", 8), ("é", 1), ("e\u0301", 1), ("ＡＢ", 4), ("–", 1)]
)
def test_display_width(text, width):
    assert display_width(text) == width


def test_columns_line_up_with_chinese_titles(make_row, make_measured):
    rows = [make_row(title="自我纠错"), make_row("dpo", 1, title="DPO (self)"), make_row("rs", 1, title="拒绝采样 SFT")]
    lines = to_markdown(result_table(rows, make_measured(baseline=None))).splitlines()[:5]
    assert len({display_width(line) for line in lines}) == 1
    bars = [[display_width(line[:place]) for place, char in enumerate(line) if char == "|"] for line in lines]
    assert all(places == bars[0] for places in bars)
    assert lines[1].startswith("| ---")
    assert lines[1].endswith("-: |")


def test_the_default_experiments_table_fits_156_columns(make_row, make_measured):
    titles = [arm.title for arm in configure().arms.values()]
    size = {"num_questions": 1000, "accuracy": 0.6}
    rows = [make_row(title, 0, 600, title=title, **size) for title in titles]
    widest = Difference(-0.608, -0.638, -0.578, 0.0, 0.0, 1)
    differences = {checkpoint_of(row): widest for row in rows}
    intervals = {checkpoint_of(row): (0.569, 0.63) for row in rows}
    table = result_table(rows, make_measured(differences=differences, intervals=intervals))
    assert len(titles) > 3
    assert max(display_width(line) for line in to_markdown(table).split("\n\n")[0].splitlines()) <= 156


def test_a_title_cannot_break_the_table(make_row, make_measured):
    title = 'a | b\nc, "d"'
    table = result_table([make_row(title=title)], make_measured(baseline=None))
    assert len(to_markdown(table).split("\n\n")[0].splitlines()) == 3
    assert "a \\| b c" in to_markdown(table)
    assert next(csv.DictReader(io.StringIO(to_csv(table), newline="")))["arm"] == title


def test_an_empty_table_is_a_header():
    assert to_markdown(Table(("arm", "n"), ())) == "| arm |   n |\n| --- | --: |\n"
    assert to_csv(Table(("arm", "n"), ())) == "arm,n\n"
