"""Runs and sweeps by a real SLURM: two nodes equal two ranks of torchrun, whatever happens on the way.

`make test-slurm`; needs root and Debian's packages of SLURM; about ten minutes on two idle cores.
"""

import shutil
from pathlib import Path

import pytest
from cells import CPU, EXPERIMENT, assert_same, places, trainings
from ranked_runs import PATIENCE, fault
from scheduler import Scheduler, wait_until
from toy_runs import MEDCRITICAL, status_of

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(4 * PATIENCE)]

SBATCH = Path(__file__).parents[2] / "experiments" / "slurm.sbatch"


def test_two_nodes_make_a_run_as_torchrun_does_though_a_rank_is_killed(
    slurm: Scheduler, by_torchrun: Path, begun: Path
) -> None:
    killing = fault(begun / "killed", 1, "SIGKILL", "step-00000020")
    exported = [f"--export=ALL,{','.join(f'{name}={value}' for name, value in killing.items())}"]
    job = slurm.submit(*exported, str(SBATCH), *EXPERIMENT, *places(begun), *CPU, cwd=begun)
    ended, log = slurm.wait_for(job, PATIENCE), (begun / "job.log").read_text(encoding="utf-8")
    assert ended["ExitCode"] == "0:0", log
    assert "sft (stage 1) failed: rank 1 died without a word" in log
    assert "starting again, 1 of 2 times" in log
    assert log.index("rank 1 died") < log.index("goes on from its checkpoint after step 15")
    assert_same(trainings(begun), trainings(by_torchrun), number=2)
    (table,) = begun.glob("outputs/*/table.csv")
    assert table.read_bytes() == next(by_torchrun.glob("outputs/*/table.csv")).read_bytes()
    (ranks,) = begun.glob("outputs/*/worker.log")
    assert "error: n2: task 1: Killed" in ranks.read_text(encoding="utf-8")


def test_a_job_that_is_pre_empted_is_queued_again_and_goes_on(slurm: Scheduler, by_torchrun: Path, begun: Path) -> None:
    job = slurm.submit(str(SBATCH), *EXPERIMENT, *places(begun), *CPU, cwd=begun)
    wait_until(lambda: bool(list(begun.glob("store/sft/.*.unfinished/step-*/complete.json"))), PATIENCE)
    urgent = slurm.run("sbatch", "--wait", "--partition=urgent", "--nodes=2", "--exclusive", "--wrap=true", cwd=begun)
    assert urgent.returncode == 0, urgent.stderr
    waiting = slurm.job(job)
    assert (waiting["JobState"], waiting["Restarts"]) == ("PENDING", "1")
    assert not list(begun.glob("store/sft/*/model"))
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now", cwd=begun)  # SLURM would wait for two minutes
    ended, log = slurm.wait_for(job, PATIENCE), (begun / "job.log").read_text(encoding="utf-8")
    assert ended["ExitCode"] == "0:0", log
    before, after = log.split("queued again: ")
    assert before.endswith("interrupted: nothing finished is lost; the same command goes on from here.\n")
    assert "goes on from its checkpoint after step " in after
    assert_same(trainings(begun), trainings(by_torchrun), number=2)


@pytest.fixture(scope="session")
def by_basic(slurm: Scheduler, by_torchrun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sweep by Hydra's basic launcher, whose cells are made by two ranks of torchrun."""
    return sweep(
        slurm, by_torchrun, tmp_path_factory.mktemp("by-basic"), "cluster=torchrun", "cluster.nproc_per_node=2"
    )


def sweep(slurm: Scheduler, by_torchrun: Path, root: Path, *overrides: str) -> Path:
    """Two cells that have all but DPO, evaluation and report; their folder."""
    shutil.copytree(by_torchrun / "store", root / "store")
    command = [*MEDCRITICAL, "-m", *EXPERIMENT, *CPU, *places(root), "selfplay.beta=0.05,0.2", *overrides]
    done = slurm.run(*command, cwd=root, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    status = status_of(root / "outputs")
    assert (status["done"], status["failed"]) == (2, 0)
    assert status["stages_executed"]["dpo"] == 2
    return root


@pytest.mark.parametrize(
    "overrides",
    [
        (
            *("cluster=slurm", "cluster.nnodes=2", "+hydra.launcher.use_srun=false"),
            *(
                "+hydra.launcher.additional_parameters.nodes=2",
                "+hydra.launcher.additional_parameters.ntasks_per_node=1",
            ),
        ),
        ("cluster=torchrun", "cluster.nproc_per_node=2", "hydra.launcher.cpus_per_task=2"),
    ],
    ids=lambda overrides: overrides[0],
)
def test_cells_of_two_ranks_are_jobs_of_submitit(
    slurm: Scheduler, by_torchrun: Path, by_basic: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    sweep(slurm, by_torchrun, tmp_path, *overrides, "hydra/launcher=submitit_slurm")
    assert_same(trainings(tmp_path), trainings(by_basic), number=4)
    for folder in by_basic.glob("outputs/toy-*"):
        same = tmp_path / "outputs" / folder.name
        assert (same / "table.csv").read_bytes() == (folder / "table.csv").read_bytes()
        assert (same / "summary.json").is_file()


def test_a_launch_that_does_not_fit_the_allocation_is_refused(slurm: Scheduler, tmp_path: Path) -> None:
    """One job of two nodes with one task each; every line is refused in a sentence, before a store is made."""
    commands = {
        "cluster.nnodes=1": "cluster.nnodes=1, but the allocation has 2 nodes: make sbatch's --nodes the same.",
        "cluster.nnodes=2 cluster.nproc_per_node=2": "cluster.nproc_per_node=2 (x 2 nodes = 4 ranks), but the allocation has "
        "1, 1 tasks on its nodes",
        f"cluster.nnodes=2 paths.store={slurm.private}/store": f"n2 did not answer through paths.store={slurm.private}/store: "
        "give all nodes the same shared folder (srun: ",
    }
    common = " ".join([*EXPERIMENT, *CPU, f"paths.outputs={tmp_path / 'outputs'}", "cluster=slurm"])
    lines = ["#!/bin/bash", *(f"medcritical {common} {command}; echo status $?" for command in commands)]
    on_second = (
        f"srun --overlap --nodes=1 --ntasks=1 --nodelist=n2 medcritical {common} cluster.nnodes=2; echo status $?"
    )
    (tmp_path / "job").write_text("\n".join([*lines, on_second]), encoding="utf-8")
    job = slurm.submit("--nodes=2", "--ntasks-per-node=1", "job", cwd=tmp_path)
    slurm.wait_for(job, PATIENCE)
    log = (tmp_path / "job.log").read_text(encoding="utf-8")
    for sentence in commands.values():
        assert sentence in log
    assert "cluster=slurm starts on the first node of its allocation, n1" in log
    assert log.count("status 2\n") == 4
    assert "Traceback" not in log
    outside = slurm.run(*MEDCRITICAL, *EXPERIMENT, *CPU, "cluster=slurm", "cluster.nnodes=2", cwd=tmp_path)
    assert outside.returncode == 2
    assert "SLURM_JOB_ID is not set: submit the command with sbatch" in outside.stderr
