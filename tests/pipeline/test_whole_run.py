"""The whole method at toy size, through the real command: once uninterrupted, once stopped and killed on the way."""

import csv
import importlib.metadata
import io
import json
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_runs import Run, environment, interrupt_toy, run_toy

from medcritical.modeling.device import device_name
from medcritical.reporting.markup import display_width
from medcritical.reporting.summary import read_summary
from medcritical.reporting.terminal import print_run
from wandb_log import history, table


def test_table_has_every_checkpoint(finished: tuple[Path, Run]) -> None:
    _, run = finished
    with (run.folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["0", "0", "1", "2", "1", "2"]
    assert (run.folder / "table.md").read_text(encoding="utf-8") in run.stdout
    assert (run.folder / "accuracy.png").stat().st_size > 5_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_of_120_columns_and_30_lines_shows_the_results_last(
    finished: tuple[Path, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    print_run(finished[1].folder, file)
    lines = file.getvalue().splitlines()
    assert len(lines) < 30
    titles = ["Student before training", "SFT on thought templates", *["MedCritical"] * 2, *["Rejection SFT"] * 2]
    for line, title in zip(lines[-6:], titles, strict=True):
        assert line.startswith(title)
        assert display_width(line) <= 120


def test_a_damaged_manifest_is_made_again_and_hinders_nobody_else(finished: tuple[Path, Run], tmp_path: Path) -> None:
    """One that the run needs, and one of another run."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    planned = json.loads((finished[1].folder / "plan.json").read_text(encoding="utf-8"))["calls"]
    damaged = tmp_path / "store" / "report" / planned[-1]["ref"]["key"][:16] / "manifest.json"
    other = tmp_path / "store" / "dpo" / ("f" * 16) / "manifest.json"
    other.parent.mkdir()
    for path in (damaged, other):
        path.write_text("{", encoding="utf-8")
    (made,) = [line for line in run_toy(tmp_path).stderr.splitlines() if line.startswith("[")]
    assert "] report " in made
    assert json.loads(damaged.read_text(encoding="utf-8"))["ref"]["stage"] == "report"


def test_summary_follows_from_the_store(finished: tuple[Path, Run]) -> None:
    _, run = finished
    summary = read_summary(run.folder / "summary.json")
    for row in summary.rows:
        path = summary.predictions_path(run.folder, row.artefact)
        assert path is not None
        predictions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert sum(prediction["is_correct"] for prediction in predictions) == row.num_correct
        assert sum(prediction["letters"] is None for prediction in predictions) == row.unparsed
        assert {prediction["question"]["split"] for prediction in predictions} == {"test"}
    by_place = {(row.arm, row.iteration): row for row in summary.rows}
    assert by_place["sft", 0].accuracy > by_place["base", 0].accuracy + 0.3
    spent = [by_place["dpo_self", iteration].student_tokens for iteration in (1, 2)]
    assert spent[0] is not None
    assert spent[1] is not None
    assert by_place["sft", 0].student_tokens < spent[0] < spent[1]


def test_the_ledger_states_what_the_manifests_do(finished: tuple[Path, Run]) -> None:
    root, run = finished
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in (root / "store").rglob("manifest.json")]
    written = {manifest["ref"]["stage"]: 0 for manifest in manifests}
    for manifest in manifests:
        written[manifest["ref"]["stage"]] += manifest["costs"]["student_tokens"]
    with (run.folder / "ledger.csv").open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["stage"] == "teach"]
    assert len(lines) == 3  # of stage 1 and of both arms
    assert len({line["teacher written"] for line in lines}) == 1
    summary = read_summary(run.folder / "summary.json")
    assert {entry.stage for entry in summary.ledger.values()} == set(written) - {"report"}
    for stage in ("play", "answer"):
        entries = [entry for entry in summary.ledger.values() if entry.stage == stage]
        assert sum(entry.costs.student_tokens for entry in entries) == written[stage] > 0
        assert all(entry.costs.student_prompt_tokens > 0 for entry in entries)
    last = (run.folder / "costs.md").read_text(encoding="utf-8").splitlines()[-1]
    assert f"self {written['play']:,} tokens written" in last


def test_manifests_say_with_what_they_were_made(finished: tuple[Path, Run]) -> None:
    root, _ = finished
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (root / "store").rglob("manifest.json")]
    by_stage = {manifest["ref"]["stage"]: manifest["environment"] for manifest in found}
    for stage, made in by_stage.items():
        runs_a_model = stage in ("sft", "dpo", "reference", "play", "answer")
        assert made["python"] == platform.python_version()
        assert made["arithmetic"] == ("float32" if runs_a_model else "")
        assert len(made["devices"]) == int(runs_a_model)
        assert ("torch" in made["packages"]) == (runs_a_model or stage == "student")
    assert {by_stage[stage]["strategy"] for stage in ("sft", "reference", "dpo")} == {"alone"}
    assert by_stage["dpo"]["packages"]["peft"] == importlib.metadata.version("peft")
    assert "deepspeed" not in by_stage["dpo"]["packages"]
    assert len({manifest["environment"]["commit"] for manifest in found}) == 1


def test_first_preference_loss_is_ln_2(finished: tuple[Path, Run]) -> None:
    root, _ = finished
    first_rows = [
        json.loads(path.read_text(encoding="utf-8").splitlines()[0]) for path in root.glob("store/dpo/*/metrics.jsonl")
    ]
    losses = [row["train/preference_loss"] for row in first_rows if "train/preference_loss" in row]
    assert len(losses) == 2  # the two iterations of the arm with a contrast
    assert losses == pytest.approx([0.693147] * 2, abs=1e-4)


def test_second_run_does_nothing_and_says_so(finished: tuple[Path, Run]) -> None:
    root, first = finished
    before = {path: path.stat().st_mtime_ns for path in (root / "store").rglob("manifest.json")}
    again = run_toy(root)
    assert "nothing to do" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in (root / "store").rglob("manifest.json")} == before
    assert again.folder == first.folder
    print(f"second run: {again.seconds:.1f} s")
    assert again.seconds < 6  # 1.5 s on an idle machine; the limit that users are promised is 3 s


def test_another_beta_shares_all_that_comes_before_training(finished: tuple[Path, Run]) -> None:
    root, _ = finished
    before = {path.parent for path in (root / "store").rglob("manifest.json")}
    run_toy(root, "selfplay.beta=0.3", "selfplay.iterations=1")
    added = sorted(
        path.parent.parent.name for path in (root / "store").rglob("manifest.json") if path.parent not in before
    )
    assert added == ["answer", "dpo", "report", "score"]


def test_stopped_and_killed_runs_go_on_to_the_same_table(finished: tuple[Path, Run], tmp_path: Path) -> None:
    status, stderr = interrupt_toy(tmp_path, r"teach .* thought templates .* s ", signal.SIGINT, "cluster.isolate=true")
    assert status == 130, stderr
    assert "goes on from here" in stderr
    assert "Traceback" not in stderr
    assert not list(tmp_path.glob("store/sft/*/manifest.json"))
    assert not [path for path in tmp_path.glob("store/sft/*") if path.is_dir()], "an unfinished artefact is cleared"
    status, _ = interrupt_toy(tmp_path, r"answer .*sft .* s ", signal.SIGKILL, "cluster.isolate=true")
    assert status == -signal.SIGKILL
    _, uninterrupted = finished
    rest = run_toy(tmp_path)
    assert "done before" in rest.stderr
    for name in ("table.md", "table.csv", "accuracy.png"):
        assert (rest.folder / name).read_bytes() == (uninterrupted.folder / name).read_bytes(), name


def test_a_run_without_wandb_is_replayed_as_one_with_it(finished: tuple[Path, Run]) -> None:
    root, first = finished
    code = "import sys; from medcritical.cli.wandb import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "sync", str(first.folder)], env=environment(root), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (replayed,) = first.folder.glob("wandb/offline-run-*")
    before = [row for row in history(replayed) if "iteration" in row]
    run_toy(root, "logger=wandb")  # nothing is left to do but the export
    (live,) = first.folder.glob("wandb/offline-run-*")
    assert live != replayed
    rows = [row for row in history(live) if "iteration" in row]
    assert rows == before
    assert [row["iteration"] for row in rows if "accuracy/clinic-easy/test/dpo_self" in row] == [0, 1, 2]
    steps = [row["dpo_self/step"] for row in history(live) if "dpo_self/step" in row]
    assert steps == sorted(set(steps))
    assert steps[-1] == 16  # two iterations of eight
    assert {row["verdict"] for row in table(live, "samples")} >= {"right"}
    assert [row for row in history(live) if "system/memory_mib" in row]


def test_the_report_is_drawn_from_the_store(finished: tuple[Path, Run], tmp_path: Path) -> None:
    root, run = finished
    code = "import sys; from medcritical.cli.report import main; sys.exit(main())"
    command = [sys.executable, "-c", code, str(run.folder), "--to", str(tmp_path / "report")]
    done = subprocess.run(command, env=environment(root), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {path.stem for path in (tmp_path / "report").glob("*.pdf")}
    assert names == {"accuracy", "costs", "pairs", "curves"}
    assert "warning" not in done.stderr


def manifests(root: Path, stage: str) -> list[dict[str, Any]]:
    paths = sorted((root / "store" / stage).glob("*/manifest.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_teachers_arms_the_vote_and_a_baseline(finished: tuple[Path, Run]) -> None:
    """Who writes what is preferred, in one iteration each; the loss that is printed and stored; and a card.

    The baseline is the stage-1 model under another name, as a folder: it must score what it scored as a student.
    """
    root, _ = finished
    run = run_toy(
        root,
        *("arm=[dpo_eliminate,dpo_teacher,dpo_thought,dpo_answer,majority_vote]", "selfplay.iterations=1"),
        *("dpo.steps=3", "dpo.warmup_steps=1", "dpo.loss=conservative", "dpo.label_smoothing=0.1"),
        *("experiment.row=dpo_teacher", "baseline=any", f"baselines.any.student.source={second_pass_model(root)}"),
        *("baselines.any.title=Known", "baselines.any.published=12.5", "baselines.any.max_new_tokens=50"),
        *("template@baselines.any.template=clinic", "baselines.any.template.level=both"),
        "baselines.any.template.attempt='{question}'",
        "baselines.any.template.answer='<answer> {answer} </answer>'",
    )
    by_arm = {row.arm: row for row in read_summary(run.folder / "summary.json").rows}
    arms = ["dpo_eliminate", "dpo_teacher", "dpo_thought", "dpo_answer", "majority_vote"]
    assert list(by_arm) == ["base", "any", "sft", *arms]
    assert (by_arm["any"].num_correct, by_arm["any"].unparsed) == (by_arm["sft"].num_correct, by_arm["sft"].unparsed)
    assert by_arm["majority_vote"].accuracy >= by_arm["sft"].accuracy - 0.1
    made = {manifest["config"]["chosen"]: manifest for manifest in manifests(root, "pair")}
    pairs = {}
    for name in ("teacher", "thought", "answer"):
        pairs[name] = read_lines(root / "store" / "pair" / made[name]["ref"]["key"][:16] / "pairs.jsonl")
        contrasts = [pair for pair in pairs[name] if pair["rejected"] is not None]
        assert len(contrasts) == made[name]["facts"]["pairs"] > 0
        assert {pair["origin"] for pair in contrasts} == {"answer" if name == "answer" else "teacher"}
    for pair in pairs["answer"]:  # the same but for the answer
        chosen, rejected = (pair[side] and pair[side].rpartition("<answer>") for side in ("chosen", "rejected"))
        assert rejected is None or (chosen[0] == rejected[0] and chosen[2] != rejected[2])
    formulas = {manifest["facts"]["formula"] for manifest in manifests(root, "dpo")}
    smoothed = next(formula for formula in formulas if "- 0.1 * log sigmoid(-(" in formula)
    assert smoothed in run.stderr
    published = (run.folder / "published.md").read_text(encoding="utf-8")
    assert f"{100 * by_arm['dpo_teacher'].accuracy:.1f}" in published
    assert all(text in published for text in ("Known", "12.50", "greedy, 50 tokens"))


def test_a_loop_that_stands_still_stops_with_its_best(finished: tuple[Path, Run]) -> None:
    """The gate asks for more than anyone can gain: iteration 2 makes nothing, and the stage-1 model is what is left."""
    root, _ = finished
    before = {path.parent for path in (root / "store").rglob("manifest.json")}
    gate = ["selfplay=gated", "selfplay.gate.min_gain=0.9", "selfplay.gate.patience=1"]
    run = run_toy(root, "arm=dpo_self", "selfplay.replay=all", "selfplay.corrector=trained", *gate)
    new = [path for path in (root / "store").rglob("manifest.json") if path.parent not in before]
    made = [json.loads(path.read_text(encoding="utf-8")) for path in new]
    empty = [item for item in made if item["facts"].get("stopped")]
    assert sorted(item["ref"]["stage"] for item in empty) == ["answer", "dpo", "pair", "play", "reference", "score"]
    assert all(not item["files"] for item in empty)
    assert [item["facts"]["decision"] for item in made if item["ref"]["stage"] == "gate"] == ["stop", "stop"]
    rows = {(row.arm, row.iteration): row for row in read_summary(run.folder / "summary.json").rows}
    assert rows["dpo_self", 1].num_correct == rows["dpo_self", 2].num_correct == rows["sft", 0].num_correct
    (trained,) = [item for item in made if item["ref"]["stage"] == "pair" and not item["facts"].get("stopped")]
    examples = read_lines(root / "store" / "pair" / trained["ref"]["key"][:16] / "pairs.jsonl")
    taught = [pair for pair in examples if pair["corrects"] is not None]
    assert len(taught) == trained["facts"]["corrector_examples"] > 0
    assert all(pair["chosen"].startswith("<error>") and pair["rejected"] is None for pair in taught)
    assert "nothing: the loop has stopped" in run.stderr


def test_a_row_of_equal_seconds_names_the_device_that_they_were_counted_on(finished: tuple[Path, Run]) -> None:
    arms = "arm=[dpo_self,rejection_sft_seconds]"
    run = run_toy(finished[0], arms, "selfplay.iterations=1", "cluster.workers=1", "trainer.accelerator=cpu")
    (row,) = [row for row in read_summary(run.folder / "summary.json").rows if row.arm == "rejection_sft_seconds"]
    assert row.equal == f"training time of dpo_self on {device_name(torch.device('cpu'))}"
    assert row.equal in (run.folder / "table.md").read_text(encoding="utf-8")


def second_pass_model(root: Path) -> Path:
    """The model folder of stage 1 after its second pass, as any program would load it."""
    (manifest,) = [item for item in manifests(root, "sft") if "corrections" in item["inputs"]]
    return root / "store" / "sft" / str(manifest["ref"]["key"])[:16] / "model"
