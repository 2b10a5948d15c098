import csv
import json
import subprocess
import sys

import msgspec
import pytest
from summaries import scored, summarise, write_run

from medcritical.cli.report import build_parser, find_summaries
from medcritical.evaluation import score_attempts
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
    assert cells[3] == "75.0 … 85.0"
    assert cells[6] == "+30.0"
    assert cells[8] == "<0.001***"  # 24 questions gained over both seeds and none lost: 2 / 2^24
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
    scores = {row.artefact: score_attempts(attempts, split="test", confidence=0.95) for row, attempts in found}
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


def test_lost_predictions_leave_a_seed_out_and_say_so(runs, call, tmp_path):
    (tmp_path / "store/score/dpo_self11/predictions.jsonl").unlink()
    status, out, err = call(runs, "--json")
    assert status == 0
    assert json.loads(out)["differences"][0]["value"] == pytest.approx(0.25)  # seed 0 alone
    assert "score/dpo_self11" in err
    assert len(err.splitlines()) == 1


def test_a_usage_error_is_one_line(call):
    for arguments in ((), ("--to",), ("runs", "--nothing")):
        status, out, err = call(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.endswith("see medcritical-report --help.\n")
        assert len(err.splitlines()) == 1


def test_trainings_that_left_the_store_are_named_once(tmp_path, call):
    row, attempts = scored("dpo_self", 1, 0, [True, False], "DPO")
    score = score_attempts(attempts, split="test", confidence=0.95)
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


def test_main_table_has_a_bootstrap_interval_over_seeds(runs, call, tmp_path):
    call(runs, "--to", tmp_path / "out")
    with (tmp_path / "out" / "main.csv").open(encoding="utf-8", newline="") as file:
        sft, dpo = csv.DictReader(file)
    assert (sft["accuracy %"], dpo["accuracy %"], dpo["difference"]) == ("50.0", "80.0", "+30.0***")
    low, high = (float(bound) for bound in dpo["95 % interval"].strip("[]").split(","))
    # 80 questions over both seeds, 64 of them right: standard error sqrt(.8 * .2 / 80) = 4.5 points
    assert low == pytest.approx(80 - 1.96 * 4.5, abs=1.5)
    assert high == pytest.approx(80 + 1.96 * 4.5, abs=1.5)


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
    score = score_attempts(attempts, split="test", confidence=0.95)
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
