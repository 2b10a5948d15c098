"""The 3 x 3 grid for real: what it executes and costs, two launchers at once, one that is killed, and a study."""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from toy_runs import COMMAND, SWEEP, environment, run, status_of

GRID = ["experiments=toy", "arm=dpo_self", "selfplay.beta=0.05,0.1,0.3", "selfplay.iterations=1,2,3"]
PAIR = ["experiments=toy", "arm=dpo_self", "selfplay.beta=0.05,0.1", "selfplay.iterations=1"]
EXECUTED = {"prepare": 1, "student": 1, "teach": 2, "sft": 1, "sft_further": 1, "play": 8, "pair": 7, "reference": 7}
EXECUTED |= {"dpo": 9, "answer": 11, "score": 11, "report": 9}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def cpu_seconds(root: Path, *command: str, outputs: str) -> float:
    """CPU seconds of a command and all that it starts; wall time says little on a machine with other work."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(root, *command, f"paths.outputs={root / outputs}", store=root / outputs / "store", timeout=3000)
    assert done.code == 0, done.err
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_grid_costs_at_most_45_percent_of_nine_runs(tmp_path: Path) -> None:
    grid = cpu_seconds(tmp_path, *SWEEP, *GRID, outputs="grid")
    status = status_of(tmp_path / "grid")
    assert (status["done"], status["stages_missing"]) == (9, {})
    assert status["stages_executed"] == EXECUTED
    assert status["stages_executed_by_label"]["play"]["dpo_self iteration 1"] == 1
    chains = [
        cpu_seconds(tmp_path, *COMMAND, "arm=dpo_self", f"selfplay.iterations={number}", outputs=f"chain{number}")
        for number in (1, 2, 3)
    ]
    print(f"grid {grid:.0f} CPU s, separate runs of T=1,2,3 {[round(seconds) for seconds in chains]} CPU s")
    print(f"ratio {grid / (3 * sum(chains)):.2f}")
    assert grid <= 0.45 * 3 * sum(chains)


def start(root: Path, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, f"paths.outputs={root / 'outputs'}"],
        cwd=root,
        env=environment(root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_two_launchers_at_once_make_everything_once(tmp_path: Path) -> None:
    launchers = [start(tmp_path, *SWEEP, *PAIR) for _ in range(2)]
    launchers.append(start(tmp_path, *SWEEP, *PAIR[:2], "selfplay.iterations=1", "selfplay.beta=0.1,0.3"))
    assert [launcher.wait(1200) for launcher in launchers] == [0, 0, 0]
    status = status_of(tmp_path / "outputs")
    assert status["done"] == 3
    shared = dict.fromkeys(("prepare", "student", "sft", "sft_further", "pair", "reference"), 1)
    assert status["stages_executed"] == shared | {"teach": 2, "play": 2, "dpo": 3, "answer": 5, "score": 5, "report": 3}


def test_a_killed_launcher_hangs_nobody_and_what_it_made_stays(tmp_path: Path) -> None:
    killed = start(tmp_path, *SWEEP, *PAIR)
    until = time.monotonic() + 600
    while not list(tmp_path.glob("store/sft/*/manifest.json")):
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert start(tmp_path, *SWEEP, *PAIR).wait(1200) == 0
    status = status_of(tmp_path / "outputs")
    assert status["done"] == 2
    assert (status["stages_executed"]["sft"], status["stages_executed"]["dpo"]) == (1, 2)


def test_a_study_runs_tells_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="install medcritical[optuna]")
    command = [*COMMAND, "sweeps=optuna_study", "selfplay.iterations=1", "evaluation.base=false"]
    command += [f"paths.outputs={tmp_path / 'outputs'}"]
    for trials in (2, 3):
        done = run(tmp_path, *command, f"sweep.study.trials={trials}", store=tmp_path / "store", timeout=1200)
        assert done.code == 0, done.err
        assert "best: " in done.out
        status = status_of(tmp_path / "outputs")
        assert (status["done"], status["stages_executed"]["dpo"]) == (trials, trials)
        assert (status["stages_executed"]["sft"], status["stages_executed"]["reference"]) == (1, 1)
