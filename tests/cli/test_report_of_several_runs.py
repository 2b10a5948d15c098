"""Runs with what they share, and with names that do not tell them apart."""

import json
from pathlib import Path
from typing import Any

import pytest
from summaries import scored, write_run

from medcritical.pipeline.run_folder import Failure, PlannedCall, PlannedRun, RunFolder
from medcritical.store import ArtefactRef, write_json

HALF, MORE, MOST = ([True] * right + [False] * (40 - right) for right in (20, 28, 36))


def plan(folder: Path, *swept: str) -> RunFolder:
    """A prepared run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    call = PlannedCall(ref=ArtefactRef(stage="report", key="0" * 16), label="", inputs={}, seconds=None)
    run = RunFolder(folder)
    run.plan(PlannedRun(swept=list(swept), store=str(folder.parent / "store"), calls=[call]))
    return run


def main_table(told: str) -> list[dict[str, Any]]:
    table = json.loads(told)["tables"]["main"]
    return [dict(zip(table["header"], (cell["text"] for cell in line), strict=True)) for line in table["rows"]]


@pytest.fixture
def arms(tmp_path: Path) -> Path:
    """Two overlays from one stage 1: each lists its own arm, and both what they share."""
    for name, right in (("one", MORE), ("other", MOST)):
        sft = scored("sft", 0, 0, HALF, "SFT", run=name)
        arm = scored(f"dpo_{name}", 1, 0, right, f"DPO {name}", run=name)
        write_run(tmp_path / "outputs" / name, tmp_path / "store", sft, arm)
    return tmp_path / "outputs"


def test_what_runs_share_is_one_line(arms: Path, call: Any) -> None:
    status, told, _ = call(arms, "--json")
    assert status == 0
    lines = main_table(told)
    assert [(line["arm"], line["run"]) for line in lines] == [
        ("SFT", "one"),
        ("DPO one", "one"),
        ("DPO other", "other"),
    ]
    assert [line["difference"] for line in lines[1:]] == [
        "+20.0**",
        "+40.0***",
    ]  # p = 2 * 2^-8 and 2 * 2^-16, two of them
    assert "run: of a checkpoint that several runs share, the first of them" in call(arms)[1]


def test_the_baseline_can_be_another_runs_arm(arms: Path, call: Any) -> None:
    status, told, _ = call(arms, "--json", "--baseline", "dpo_one")
    assert status == 0
    assert [line["difference"] for line in main_table(told)] == ["-20.0*", None, "+20.0*"]
    assert main_table(call(arms, "--json", "--baseline", "one:dpo_one")[1]) == main_table(told)
    status, _, said = call(arms, "--baseline", "other:dpo_one")
    assert status == 2
    assert "--baseline is one of one:sft, one:dpo_one, other:sft, other:dpo_other." in said


def test_a_sweep_over_a_key_that_no_column_shows_names_its_cells(tmp_path: Path, call: Any) -> None:
    for value, right in (("previous", MORE), ("sft", MOST)):
        folder = tmp_path / "outputs" / value
        sft = scored("sft", 0, 0, HALF, "SFT")
        arm = scored("dpo_self", 2, 0, right, "DPO", artefact=f"score/{value}")
        write_run(folder, tmp_path / "store", sft, arm)
        plan(folder, f"selfplay.reference={value}", "seed=0")
    status, told, _ = call(tmp_path / "outputs", "--json")
    assert status == 0
    assert [(line["arm"], line["run"], line["accuracy %"]) for line in main_table(told)] == [
        ("SFT", "demo selfplay.reference=previous", "50.0"),
        ("DPO", "demo selfplay.reference=previous", "70.0"),
        ("DPO", "demo selfplay.reference=sft", "90.0"),
    ]


def test_a_run_of_its_own_and_a_cell_in_two_sweeps_join_those_of_the_same_value(tmp_path: Path, call: Any) -> None:
    """The value that a sweep varies is the configuration's where no sweep set it."""

    def write(place: str, value: str, seed: int, right: list[bool], *swept: str) -> None:
        folder = tmp_path / "outputs" / place
        arm = scored("dpo_self", 2, seed, right, "DPO", artefact=f"score/{value}-{seed}")
        write_run(folder, tmp_path / "store", scored("sft", 0, seed, HALF, "SFT"), arm)
        write_json(folder / "config.json", {"selfplay": {"reference": value}, "seed": seed})
        plan(folder, *swept)

    write("sweep/previous", "previous", 0, MORE, "selfplay.reference=previous")
    write("sweep/sft", "sft", 0, MOST, "selfplay.reference=sft")
    write("betas/previous", "previous", 0, MORE, "selfplay.beta=0.1")
    write("alone", "previous", 1, MORE)
    status, told, _ = call(tmp_path / "outputs", "--json")
    assert status == 0
    lines = [(line["arm"], line["run"].removeprefix("demo "), line["n"]) for line in main_table(told)]
    assert ("DPO", "selfplay.reference=previous", "2 × 40") in lines
    assert ("DPO", "selfplay.reference=sft", "40") in lines
    assert len([line for line in lines if line[0] == "DPO"]) == 2


def test_cells_without_a_result_are_named(arms: Path, call: Any) -> None:
    plan(arms / "waits", "seed=1")
    plan(arms / "broke", "seed=2").fail(Failure(stage="dpo", message="no memory", log="", exit_code=1))
    status, told, said = call(arms, "--json")
    assert status == 0
    notes = json.loads(told)["tables"]["main"]["notes"]
    assert notes[-2:] == ["missing: broke seed=2 (failed)", "missing: waits seed=1 (waiting)"]
    assert "warning: no result yet of broke seed=2 (failed), waits seed=1 (waiting)" in said
