"""What `cluster=slurm` asks SLURM for, and what of an allocation it refuses. `tests/slurm` has a real one."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from configurations import configure
from medcritical.config.schema import Config
from medcritical.errors import ConfigError
from medcritical.pipeline.nodes import Announcement
from medcritical.pipeline.slurm import KILL_SECONDS, Srun, check_allocation, tasks_per_node

SCONTROL = """#!/bin/sh
case "$2" in hostnames) printf 'n1\\nn2\\n' ;; node) echo "NodeName=$3 NodeAddr=10.0.0.1 NodeHostName=$3" ;; esac
"""


@pytest.fixture
def allocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The variables of a job on two nodes with two tasks each, as `sbatch` of SLURM 22.05 sets them; programs that answer."""
    for name, text in (("srun", "#!/bin/sh\n"), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    variables = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_TASKS_PER_NODE": "2(x2)",
        "SLURMD_NODENAME": "n1",
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def slurm(*overrides: str) -> Config:
    return configure("cluster=slurm", "cluster.nnodes=2", "cluster.nproc_per_node=2", *overrides)


def test_the_batch_file_stops_ranks_early_enough_to_be_queued_again() -> None:
    text = (Path(__file__).parents[2] / "experiments" / "slurm.sbatch").read_text(encoding="utf-8")
    warning, stop = (int(re.findall(words, text)[0]) for words in (r"--signal=B:USR1@(\d+)", r"\nstop_seconds=(\d+)"))
    assert warning - stop >= KILL_SECONDS
    assert 'cluster.stop_seconds="$stop_seconds"' in text


def test_an_allocation_that_fits_is_taken(allocation: Mapping[str, str]) -> None:
    check_allocation(slurm(), allocation)
    check_allocation(slurm(), {**allocation, "SLURM_GPUS_ON_NODE": "2"})
    check_allocation(slurm("trainer.accelerator=cpu"), {**allocation, "SLURM_GPUS_ON_NODE": "8"})
    in_a_step = {**allocation, "SLURM_TASKS_PER_NODE": "1", "SLURM_NTASKS_PER_NODE": "2"}
    check_allocation(slurm(), in_a_step)


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"SLURM_JOB_ID": None}, "SLURM_JOB_ID is not set: submit the command with sbatch"),
        ({"PATH": "/nowhere"}, "srun is not on PATH: install SLURM's client"),
        ({"SLURM_JOB_NUM_NODES": "3"}, "cluster.nnodes=2, but the allocation has 3 nodes: make sbatch's --nodes"),
        ({"SLURM_TASKS_PER_NODE": "3,1"}, r"\(x 2 nodes = 4 ranks\), but the allocation has 3, 1 tasks on its nodes"),
        ({"SLURM_NTASKS_PER_NODE": "1"}, "has 1, 1 tasks on its nodes: make sbatch's --ntasks-per-node the same"),
        ({"SLURM_GPUS_ON_NODE": "1"}, "cluster.nproc_per_node=2, but the allocation has 1 GPUs on this node"),
        (
            {"SLURM_GPUS_ON_NODE": "8"},
            "has 8 GPUs on this node: make sbatch's --gpus-per-node the same, or set trainer",
        ),
    ],
)
def test_wrong_counts_are_refused(
    allocation: Mapping[str, str], variables: Mapping[str, str | None], fault: str
) -> None:
    changed = {**allocation, **variables}
    with pytest.raises(ConfigError, match=fault):
        check_allocation(slurm(), {name: value for name, value in changed.items() if value is not None})


def test_slurms_way_of_writing_counts() -> None:
    assert tasks_per_node({"SLURM_TASKS_PER_NODE": "2(x3),1"}) == [2, 2, 2, 1]
    assert tasks_per_node({"SLURM_TASKS_PER_NODE": "8"}) == [8]


def test_a_command_starts_on_the_first_node(allocation: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    with pytest.raises(ConfigError, match="starts on the first node of its allocation, n1: submit"):
        Srun(slurm())


def test_srun_is_told_all_counts_and_ranks_what_torchrun_would_tell_them(
    allocation: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    launcher = Srun(slurm())
    meeting = launcher.next_meeting()
    assert meeting.host == "10.0.0.1"
    command = launcher.command(Path("/store/start-0001"), Announcement("10.0.0.1", 4000, endpoint=""))
    srun, ranks = command[: command.index("env")], command[command.index("env") :]
    assert srun[:4] == ["srun", "--overlap", "--export=ALL", "--mpi=none"]
    assert {"--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--kill-on-bad-exit=1", "--gpu-bind=none"} < set(srun)
    assert not [option for option in srun if option.startswith("--cpus-per-task")]
    show = (
        "import os; print(*(os.environ[n] for n in 'RANK LOCAL_RANK GROUP_RANK WORLD_SIZE LOCAL_WORLD_SIZE'.split()))"
    )
    show += "; print('MEDCRITICAL_SUPERVISOR' in os.environ)"
    show += "; print(os.environ['MASTER_ADDR'], os.environ['MASTER_PORT'], os.environ['TORCHELASTIC_RUN_ID'])"
    python = ranks.index(sys.executable)
    task = {**os.environ, **launcher.variables(meeting), "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
    said = subprocess.run([*ranks[: python + 1], "-c", show], env=task, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["3", "1", "1", "4", "2", "False", "10.0.0.1", "4000", "start-0001"]
    assert ranks[python + 1 :] == ["-m", "medcritical.pipeline.rank", "/store/start-0001"]
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert "--cpus-per-task=6" in launcher.command(tmp_path, meeting)


@pytest.mark.parametrize("override", ["cluster.node_rank=1", "cluster.rdzv_endpoint=n1:29500"])
def test_what_slurm_knows_is_not_to_be_given(override: str) -> None:
    with pytest.raises(ConfigError, match=r"is told by SLURM where its ranks are: leave out cluster\.node_rank="):
        slurm(override)
