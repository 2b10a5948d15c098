import csv
import json
import subprocess
import sys

import msgspec
import pytest
from summaries import scored, summarise, write_run

from medcritical.cli.report import build_parser, find_summaries
from medcritical.evaluation import score_attempts
from medcritical.evaluation.statistics import wilson_interval
from medcritical.reporting.summary import LedgerEntry, SummaryRow, read_summary, write_summary
from medcritical.store import Costs, write_records


@pytest.fixture
def runs(tmp_path):
    """Two seeds of SFT and one DPO arm: of 40 questions SFT gets 20, DPO the same 20 and 10 (seed 1: 14) more."""
    for seed, gain in ((0, 10), (1, 14)):
        sft = scored("sft", 0, seed, [True] * 20 + [False] * 20, "SFT")
        dpo = scored("dpo_self", 1, seed, [True] * (20 + gain) + [False] * (20 - gain), "自我纠错 DPO")
        write_run(tmp_path / "outputs" / "demo" / f"seed{seed}", tmp_path / "store", sft, dpo)
    return tmp_path / "outputs"


def test_tables_pool_the_seeds_and_state_the_difference(runs, call):
    status, out, err = call(runs)
    assert (status, err) == (0, "")
    line = [line for line in out.splitlines() if "自我纠错 DPO" in line][-1]  # the results come last
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["自我纠错 DPO", "1", "80.0"]
    assert cells[3] == "[18.4, 98.6]"  # as wide as 80 ± 12.706 * 5: the t interval over two seeds of other questions
    assert cells[6] == "+30.0"
    assert cells[8] == "0.105"  # t = 30 / 5 with one degree of freedom: 2 atan(1 / 6) / pi
    assert "2 seeds of questions and training; teacher is the same in all" in out
    assert "## Costs" in out
    assert "| SFT          |         0 |          1,000 |              0 |" in out
    assert (
        "each artefact once: teacher 1,000 tokens written, 250 read, 4 s; self 2,000 tokens written, 500 read, 8 s"
        in out
    )


def test_json_holds_rows_and_differences(runs, call):
    status, out, _ = call(runs / "demo" / "seed0", "--json")
    content = json.loads(out)
    assert status == 0
    assert msgspec.convert(content["rows"], list[SummaryRow]) == list(
        read_summary(runs / "demo/seed0/summary.json").rows
    )
    (difference,) = content["differences"]
    assert (difference["arm"], difference["iteration"], difference["baseline"]) == ("dpo_self", 1, "sft")
    assert difference["value"] == pytest.approx(0.25)
    assert difference["p"] == difference["p_holm"] == pytest.approx(2 / 2**10)  # ten gained, none lost
    # 10 of 40 pairs differ, all in one direction: a binomial share, standard error sqrt(.25 * .75 / 40) = 0.068
    assert difference["low"] == pytest.approx(0.25 - 1.96 * 0.068, abs=0.03)
    assert difference["high"] == pytest.approx(0.25 + 1.96 * 0.068, abs=0.03)


def test_json_holds_scores_and_ledger(runs, call):
    content = json.loads(call(runs, "--json")[1])
    assert {name: score["num_correct"] for name, score in content["scores"].items()} == {
        "score/sft00": 20,
        "score/sft01": 20,
        "score/dpo_self10": 30,
        "score/dpo_self11": 34,
    }
    assert content["lineage"]["score/dpo_self10"] == ["teach/shared", "play/1"]
    assert content["ledger"]["teach/shared"]["costs"]["teacher_prompt_tokens"] == 250


def test_p_values_are_adjusted_over_the_table(tmp_path, call):
    """Two arms against SFT on 12 questions: one gains 8 and loses none (p = 2/256), the other gains 5 (p = 2/32)."""
    answers = {"sft": [False] * 12, "dpo_a": [True] * 8 + [False] * 4, "dpo_b": [True] * 5 + [False] * 7}
    found = [scored(arm, int(arm != "sft"), 0, right, arm) for arm, right in answers.items()]
    for row, attempts in found:
        write_records(tmp_path / "store" / row.artefact / "predictions.jsonl", attempts)
    scores = {row.artefact: score_attempts(attempts, split="test") for row, attempts in found}
    write_summary(tmp_path / "summary.json", summarise([row for row, _ in found], scores, "store"))
    content = json.loads(call(tmp_path, "--json")[1])
    assert [(item["arm"], item["p"], item["p_holm"]) for item in content["differences"]] == [
        ("dpo_a", pytest.approx(2 / 256), pytest.approx(4 / 256)),
        ("dpo_b", pytest.approx(2 / 32), pytest.approx(2 / 32)),
    ]
    lines = call(tmp_path)[1].splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| dpo_")]
    assert [line[9] for line in cells[-2:]] == ["0.016*", "0.062"]


def test_the_same_runs_given_twice_count_once(runs, call):
    assert len(find_summaries([runs, runs / "demo", runs / "demo" / "seed1"])) == 2
    assert call(runs, runs / "demo" / "seed0")[1] == call(runs)[1]


def test_another_baseline(runs, call):
    status, out, _ = call(runs, "--baseline", "dpo_self", "--json")
    (difference,) = json.loads(out)["differences"]
    assert status == 0
    assert (difference["arm"], difference["value"]) == ("sft", pytest.approx(-0.3))


def test_files_are_written_and_repeat_byte_for_byte(runs, call, tmp_path):
    for name in ("first", "second"):
        assert call(runs, "--to", tmp_path / name)[0] == 0
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    tables = ("main", "grid", "table", "costs", "stages", "ledger", "provenance")
    written = {f"{table}.{kind}" for table in tables for kind in ("csv", "md", "tex")}
    drawn = {f"{figure}.{kind}" for figure in ("accuracy", "costs") for kind in ("png", "pdf")}
    assert set(names) == written | drawn | {"report.html", "report.json", "report.tex"}
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    with (tmp_path / "first" / "table.csv").open(encoding="utf-8", newline="") as file:
        sft, dpo = csv.DictReader(file)
    assert (sft["difference"], dpo["difference"]) == ("", "+30.0")


def test_lost_predictions_of_a_seed_leave_no_difference_of_the_others(runs, call, tmp_path):
    (tmp_path / "store/score/dpo_self11/predictions.jsonl").unlink()
    status, out, err = call(runs, "--json")
    assert status == 0
    assert json.loads(out)["differences"] == []  # and not that of seed 0 alone, with its McNemar test
    assert (
        err
        == "warning: no difference and no interval of what has lost predictions, be it of one seed: score/dpo_self11\n"
    )


def test_a_planning_leaves_out_what_has_lost_a_seed(tmp_path, call):
    for seed in (0, 1, 2):
        arms = [
            scored(arm, int(arm != "sft"), seed, [True] * right + [False] * (40 - right), arm.upper())
            for arm, right in (("sft", 20), ("one", 24 + 2 * seed), ("other", 30 - seed))
        ]
        write_run(tmp_path / "runs" / str(seed), tmp_path / "store", *arms)
    (tmp_path / "store/score/one12/predictions.jsonl").unlink()
    status, out, err = call(tmp_path / "runs", "--power")
    assert status == 0
    assert "OTHER" in out
    assert "ONE" not in out
    assert "score/one12" in err
    (tmp_path / "store/score/other12/predictions.jsonl").unlink()
    status, _, err = call(tmp_path / "runs", "--power")
    assert status == 2
    assert "score/one12, score/other12" in err


def test_a_difference_over_fewer_questions_than_n_is_told(tmp_path, call):
    """A judge left two questions of one side open, which count nowhere (evaluation.count_undecided=false)."""
    sft = scored("sft", 0, 0, [True] * 20 + [False] * 20, "SFT")
    dpo = scored("dpo", 1, 0, [True] * 30 + [False] * 8, "DPO")
    write_run(tmp_path / "fewer", tmp_path / "store", sft, dpo)
    content = json.loads(call(tmp_path / "fewer", "--json")[1])
    assert content["differences"][0]["num_unpaired"] == 2
    assert content["differences"][0]["value"] == pytest.approx(10 / 38)
    for table in ("main", "table"):
        notes = content["tables"][table]["notes"]
        assert "difference of 'dpo': over the questions that both sides count, fewer than n" in notes


def test_what_has_no_question_in_common_has_no_difference(tmp_path, call):
    for seed in (0, 1):
        sft = scored("sft", 0, seed, [True] * 20 + [False] * 20, "SFT")
        row, attempts = scored("dpo", 1, seed, [True] * 30 + [False] * 10, "DPO")
        if seed == 1:
            attempts = scored("dpo", 1, seed, [True] * 30 + [False] * 10, "DPO", data_seed=7)[1]
        write_run(tmp_path / "runs" / str(seed), tmp_path / "store", sft, (row, attempts))
    status, out, err = call(tmp_path / "runs", "--json")
    assert (status, json.loads(out)["differences"]) == (0, [])
    assert err == (
        "warning: no difference of what has no question in common, be it under one seed: score/dpo11 and score/sft01\n"
    )


def test_a_usage_error_is_one_line(call):
    for arguments in ((), ("--to",), ("runs", "--nothing")):
        status, out, err = call(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.endswith("see medcritical report --help.\n")
        assert len(err.splitlines()) == 1


def test_trainings_that_left_the_store_are_named_once(tmp_path, call):
    row, attempts = scored("dpo_self", 1, 0, [True, False], "DPO")
    score = score_attempts(attempts, split="test")
    summary = summarise([row], {row.artefact: score}, "store")
    made = {"dpo/gone": LedgerEntry(stage="dpo", costs=Costs())}
    lineage = {row.artefact: ("teach/shared", "dpo/gone")}
    write_summary(
        tmp_path / "summary.json", msgspec.structs.replace(summary, lineage=lineage, ledger={**summary.ledger, **made})
    )
    status, _, err = call(tmp_path)
    assert status == 0
    assert "no longer has: dpo/gone" in err
    assert len(err.splitlines()) == 1


def test_main_table_counts_seeds_and_questions(tmp_path, call):
    """Both seeds answer the same 40 questions: of SFT always the first 20, of DPO 30 and 34."""
    for seed, gain in ((0, 10), (1, 14)):
        right = [True] * (20 + gain) + [False] * (20 - gain)
        sft = scored("sft", 0, seed, [True] * 20 + [False] * 20, "SFT", data_seed=0)
        write_run(
            tmp_path / "runs" / str(seed), tmp_path / "store", sft, scored("dpo", 1, seed, right, "DPO", data_seed=0)
        )
    call(tmp_path / "runs", "--to", tmp_path / "out")
    with (tmp_path / "out" / "main.csv").open(encoding="utf-8", newline="") as file:
        sft, dpo = csv.DictReader(file)
    assert (sft["accuracy %"], dpo["accuracy %"], dpo["difference"]) == ("50.0", "80.0", "+30.0")
    low, high = (float(bound) for bound in sft["95 % interval"].strip("[]").split(","))
    # Both seeds agree to the last question, and 40 questions are no more by being answered twice: 15.8 is 2.02 * sqrt(.25 / 39).
    assert (low, high) == pytest.approx((50 - 15.8, 50 + 15.8), abs=0.7)
    notes = json.loads(call(tmp_path / "runs", "--json")[1])["tables"]["main"]["notes"]
    assert "2 seeds of training; questions and teacher are the same in all" in notes


def test_an_untrained_student_answered_once_is_one_sample(tmp_path, call):
    for seed, right in ((0, 30), (1, 34)):
        base = scored("sft", 0, seed, [True] * 20 + [False] * 20, "Base", artefact="evaluate/once", data_seed=0)
        arm = scored("dpo", 1, seed, [True] * right + [False] * (40 - right), "DPO", data_seed=0)
        write_run(tmp_path / "runs" / str(seed), tmp_path / "store", base, arm)
    call(tmp_path / "runs", "--to", tmp_path / "out")
    with (tmp_path / "out" / "main.csv").open(encoding="utf-8", newline="") as file:
        base, dpo = csv.DictReader(file)
    low, high = wilson_interval(20, 40, 0.95)
    assert (base["n"], dpo["n"]) == ("40", "2 × 40")
    assert base["95 % interval"] == f"[{100 * low:.1f}, {100 * high:.1f}]"
    content = json.loads(call(tmp_path / "runs", "--json")[1])
    assert content["differences"][0]["num_seeds"] == 2
    # The same of an arm that was answered once too: one comparison, McNemar's test of 10 questions won and none lost.
    for seed in (0, 1):
        base = scored("sft", 0, seed, [True] * 20 + [False] * 20, "Base", artefact="evaluate/once", data_seed=0)
        vote = scored("vote", 0, seed, [True] * 30 + [False] * 10, "Vote", artefact="evaluate/vote", data_seed=0)
        write_run(tmp_path / "once" / str(seed), tmp_path / "store", base, vote)
    (difference,) = json.loads(call(tmp_path / "once", "--json")[1])["differences"]
    assert (difference["num_seeds"], difference["p"]) == (1, pytest.approx(2 / 2**10))


def test_intervals_are_at_the_level_that_the_runs_ask_for(tmp_path, call):
    for level, folder in ((0.9, "one"), (0.99, "other")):
        run = scored("dpo", 1, 0, [True] * 30 + [False] * 10, "DPO", run=folder)
        write_run(tmp_path / folder, tmp_path / "store", run, confidence=level)
        low, high = wilson_interval(30, 40, level)
        status, out, err = call(tmp_path / folder)
        assert (status, err) == (0, "")
        assert f"{100 * level:g} % over questions" in out
        assert f"[{100 * low:.1f}, {100 * high:.1f}]" in out
    status, out, err = call(tmp_path / "one", tmp_path / "other")
    assert (status, err) == (
        0,
        "warning: evaluation.confidence differs between runs (0.9, 0.99): all intervals are at 0.99\n",
    )
    assert "99 % over questions" in out
    assert "90 %" not in out


class TestPower:
    def test_a_seed_alone_says_nothing_of_seeds(self, runs, call):
        status, out, err = call(runs / "demo" / "seed0", "--power")
        assert (status, out) == (2, "")
        assert err.startswith("error: --power needs an arm and its baseline under at least two seeds")
        assert len(err.splitlines()) == 1

    def test_seeds_and_questions_for_several_differences(self, runs, call):
        status, out, err = call(runs, "--power")
        assert (status, err) == (0, "")
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if "DPO" in line]
        assert [line[5] for line in lines] == ["1", "1.5", "2", "3", "5"]
        assert {tuple(line[2:4]) for line in lines} == {("2", "40")}
        needed = [int(line[6].replace(",", "")) for line in lines]
        assert needed == sorted(needed, reverse=True)

    def test_one_difference(self, runs, call):
        _, out, _ = call(runs, "--power", "--points", "2.5")
        assert len([line for line in out.splitlines() if "DPO" in line]) == 1

    def test_more_than_anyone_runs_is_said_to_be_more(self, runs, call):
        _, out, _ = call(runs, "--power", "--points", "0.1")
        (line,) = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if "DPO" in line]
        assert line[6] == "over 1,000"
        assert "before Holm's adjustment" in out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--power", "--json"), "leave out --json and --to"),
            (("--points", "2"), "--points is of --power"),
            (("--power", "--points", "0"), "0 is no number of points between 0 and 100"),
            (("--power", "--points", "many"), "many is no number of points"),
        ],
    )
    def test_a_usage_error_is_one_line(self, runs, call, arguments, message):
        status, out, err = call(runs, *arguments)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert message in err


def test_every_number_of_the_json_names_its_artefacts(runs, call):
    content = json.loads(call(runs, "--json")[1])
    names = {"arm", "run", "data", "beta", "iteration", "stage"}
    num_cells = 0
    for table in content["tables"].values():
        for line in table["rows"]:
            for heading, cell in zip(table["header"], line, strict=True):
                assert set(cell["artefacts"]) <= set(content["ledger"])
                if heading not in names and cell["text"] is not None:
                    assert cell["artefacts"], (heading, line)
                    num_cells += 1
                if cell["text"] is None:
                    assert not cell["artefacts"]
    assert num_cells > 50


def test_runs_of_an_older_version_are_left_out_by_name_until_no_other_is_there(runs, call):
    alone = call(runs)[1]
    old = runs / "old"
    old.mkdir()
    (old / "summary.json").write_text('{"schema": 2, "rows": []}', encoding="utf-8")
    status, out, err = call(runs)
    assert (status, out) == (0, alone)
    assert err.startswith(f"warning: an older version of medcritical wrote {old}, left out here")
    assert len(err.splitlines()) == 1
    status, out, err = call(old)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: an older version of medcritical wrote {old}, which this one does not read")
    assert len(err.splitlines()) == 1


def test_a_missing_folder_and_a_folder_without_runs_end_with_one_sentence(call, tmp_path):
    for folder, message in ((tmp_path / "nowhere", "there is no folder"), (tmp_path, "no summary.json")):
        status, out, err = call(folder)
        assert (status, out) == (2, "")
        assert message in err
        assert str(folder) in err
        assert len(err.splitlines()) == 1


def test_a_place_that_cannot_be_is_said_before_anything_is_printed(runs, call, tmp_path):
    (tmp_path / "file").write_text("in the way")
    status, out, err = call(runs, "--to", tmp_path / "file")
    assert (status, out) == (2, "")
    assert err == f"error: --to {tmp_path / 'file'} cannot be made: File exists; name another folder.\n"


def test_an_unknown_baseline_names_the_arms(runs, call):
    status, _, err = call(runs, "--baseline", "dpo")
    assert status == 2
    assert "sft, dpo_self" in err


def test_without_the_default_baseline_there_are_no_differences(tmp_path, call):
    row, attempts = scored("dpo_self", 1, 0, [True, False], "DPO")
    score = score_attempts(attempts, split="test")
    write_summary(tmp_path / "summary.json", summarise([row], {row.artefact: score}, "store"))
    status, out, err = call(tmp_path)
    assert (status, err) == (0, "")
    assert "percentage points" not in out


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; import medcritical.cli.report as report; report.build_parser().format_help();"
        "print(time.process_time(), *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *modules = done.stdout.split()
    assert float(seconds) < 0.5
    assert set(modules).isdisjoint({"torch", "numpy", "matplotlib", "wandb", "rich", "hydra", "msgspec"})
    assert "--baseline" in build_parser().format_help()
