"""Sweeps through the real command, by every launcher, over a store that has nearly all they need."""

import shutil
import sys
from pathlib import Path

import pytest
from toy_runs import FAILING, STATUS, SWEEP, Ended, Run, run, status_of

from wandb_log import history, of_kind


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_cells_are_run_by_every_launcher(finished: tuple[Path, Run], tmp_path: Path, launcher: str) -> None:
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher", reason="medcritical[launchers]")
    store, outputs = finished[0] / "store", tmp_path / "outputs"
    command = [*SWEEP, "experiments=toy", "selfplay.iterations=1,2", f"hydra/launcher={launcher}"]
    first = run(tmp_path, *command, f"paths.outputs={outputs}", store=store)
    assert first.code == 0, first.err
    assert "TOTAL over 2 cells, shared stages once: " in first.err
    assert first.err.count("done: cell toy-") == 2
    assert sorted(line.split()[0] for line in first.out.splitlines()) == ["done", "done"]
    assert len(list(outputs.glob("toy-*/summary.json"))) == 2
    status = status_of(outputs)
    assert (status["done"], status["seconds_left"], status["stages_missing"]) == (2, 0.0, {})
    once = ("prepare", "student", "sft", "sft_further")
    assert {stage: status["stages_executed"][stage] for stage in once} == dict.fromkeys(once, 1)
    assert status["stages_executed_by_label"]["dpo"]["dpo_self iteration 1"] == 1
    again = run(tmp_path, *command, f"paths.outputs={outputs}", store=store)
    assert again.code == 0
    assert "0 to run" in again.err
    assert "worker.log" not in again.err, "a cell that is done is not started"


def test_a_finished_sweep_gets_the_wandb_runs_that_it_lacks_once(finished: tuple[Path, Run]) -> None:
    root, first = finished
    cell = root / "tracked" / first.folder.name
    shutil.copytree(first.folder, cell, ignore=shutil.ignore_patterns("wandb"))
    for _ in range(2):
        ended = run(root, *SWEEP, "experiments=toy", "logger=wandb", "paths.outputs=tracked", store=root / "store")
        assert ended.code == 0, ended.err
        assert "0 to run" in ended.err
        (place,) = cell.glob("wandb/offline-run-*")
    assert of_kind(place, "run")[0].run_id == cell.name
    assert any("dpo_self/train/margin" in row for row in history(place))


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """A folder in which the first stage of `FAILING` cells fails, before anything heavy is loaded."""
    (tmp_path / "empty.jsonl").touch()
    return tmp_path


def fail(folder: Path, *overrides: str) -> Ended:
    return run(folder, *SWEEP, *FAILING, "selfplay.beta=0.1,0.2", *overrides, store=folder / "store")


def test_a_failed_cell_stops_those_that_have_not_started(failing: Path) -> None:
    ended = fail(failing)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    first_stage = ended.err.index("stages, 0 of them done before; log: ")
    assert 0 <= ended.err.find("TOTAL over 2 cells, shared stages once: ") < first_stage, "the whole plan comes first"
    (name,) = [path.parent.name for path in failing.glob("outputs/*/failure.json")]
    log = f"outputs/{name}/worker.log"
    sentence = "prepare (questions) failed: empty.jsonl is empty."
    assert f"error: cell {name} selfplay.beta=0.1: {sentence}\n    log: {log}\n" in ended.err
    assert "0 of 2 cells are done, 1 failed, 1 were not run; the same command goes on from here." in ended.err
    status = status_of(failing / "outputs")
    assert (status["failed"], status["waiting"]) == (1, 1)
    (failed,) = [cell for cell in status["cells"] if cell["state"] == "failed"]
    assert failed["failure"] == {"stage": "prepare", "message": sentence, "log": log, "exit_code": 2}


def test_a_failed_cell_may_stop_no_other_and_be_kept(failing: Path) -> None:
    ended = fail(failing, "sweep.on_error=continue")
    assert ended.code == 2
    assert ended.err.count("error: cell ") == 2
    kept = fail(failing, "sweep.on_error=continue", "sweep.failed=keep")
    assert kept.code == 2
    assert "error: cell " not in kept.err
    assert "0 of 2 cells are done, 2 failed, 0 were not run" in kept.err
    retried = fail(failing, "sweep.on_error=continue", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert retried.err.count("error: cell ") == 2


def test_status_is_also_said_in_words(failing: Path) -> None:
    fail(failing)
    lines = run(failing, *STATUS, "outputs", store=failing / "store").out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("failed", "waiting"))].count("failed") == 1
    assert "        prepare (questions) failed: empty.jsonl is empty." in "\n".join(lines)
    assert "2 cells: 0 done, 0 running, 1 failed, 1 waiting; no guess at the time left" in lines
    assert lines[-2:][0] == "stages executed: none"


def test_a_study_is_checked_and_planned_before_its_first_cell(finished: tuple[Path, Run], tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="install medcritical[optuna]")
    command = [sys.executable, "-c", "from medcritical.cli.main import main; main()", "experiments=toy"]
    command += ["sweeps=optuna_study", "selfplay.iterations=1", "evaluation.base=false"]
    refused = run(tmp_path, *command, "evaluation.split=test", store=tmp_path / "store")
    assert refused.code == 2
    assert "sweep.study chooses by what evaluation.split=test scores" in refused.err
    plan = run(tmp_path, *command, "plan=true", store=finished[0] / "store")
    assert plan.code == 0, plan.err
    assert "it asks for 20 cells" in plan.out
    assert list(tmp_path.iterdir()) == []
