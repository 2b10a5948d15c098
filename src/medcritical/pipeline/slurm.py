"""Ranks on all nodes of a SLURM allocation, started by srun from its first node.

sbatch -> medcritical (parent, on the first node) -> srun -> ranks (`medcritical.pipeline.rank`)
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from medcritical.config.choices import Accelerator
from medcritical.config.schema import Config
from medcritical.errors import ConfigError
from medcritical.pipeline.guard import SUPERVISOR
from medcritical.pipeline.launchers import free_port, wait_for
from medcritical.pipeline.nodes import Announcement

PROGRAMS = ("srun", "scontrol")
KILL_SECONDS = 60.0  # SLURM's KillWait is 30 seconds where nobody has changed it

_NUMBERED = (
    f"[ $SLURM_NODEID = 0 ] || unset {SUPERVISOR}; "
    'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID GROUP_RANK=$SLURM_NODEID exec "$0" "$@"'
)
_ANSWER = 'cp "$0" "$0.$SLURM_NODEID"'


class Srun:
    """One srun for all nodes, from their first: a rank is a task.

    Raises:
        ConfigError: the allocation is not what the configuration counts on.
    """

    name = "srun"

    def __init__(self, config: Config) -> None:
        check_allocation(config, os.environ)
        self.cluster = config.cluster
        self.nodes = _expand(os.environ["SLURM_JOB_NODELIST"])
        if os.environ.get("SLURMD_NODENAME") != self.nodes[0]:
            raise ConfigError(
                f"cluster=slurm starts on the first node of its allocation, {self.nodes[0]}: submit the command with sbatch, "
                "or put `srun --overlap --nodes=1 --ntasks=1` before it."
            )

    @contextmanager
    def sharing(self, root: Path) -> Iterator[None]:
        """See `Launcher`: every node copies a file of the store beside it. Raises ConfigError for nodes that cannot."""
        if self.cluster.nnodes > 1:
            self._check_shared(root)
        yield

    def next_meeting(self) -> Announcement:
        """See `Launcher`: the address by which SLURM itself reaches the first node."""
        (address,) = re.findall(r"\bNodeAddr=(\S+)", _ask("scontrol", "show", "node", self.nodes[0], "--oneliner"))
        return Announcement(address, free_port(), endpoint="")

    def command(self, start: Path, meeting: Announcement) -> list[str]:
        """See `Launcher`. One rank that ends badly ends all; every rank sees all GPUs of its node, as with torchrun."""
        cluster = self.cluster
        return [
            *_srun(cluster.nnodes, cluster.nproc_per_node),
            *("--kill-on-bad-exit=1", "--wait=0", "--unbuffered", "--distribution=block", "--gpu-bind=none", "env"),
            *(f"WORLD_SIZE={cluster.world_size}", f"LOCAL_WORLD_SIZE={cluster.nproc_per_node}"),
            *(f"MASTER_ADDR={meeting.host}", f"MASTER_PORT={meeting.port}", f"TORCHELASTIC_RUN_ID={start.name}"),
            *("sh", "-c", _NUMBERED),
            *(sys.executable, "-m", "medcritical.pipeline.rank", str(start)),
        ]

    def variables(self, meeting: Announcement) -> dict[str, str]:
        """See `Launcher`: this process, which the ranks of this node can watch; if they end, srun ends the others."""
        return {SUPERVISOR: str(os.getpid())}

    def ask_to_stop(self, process: subprocess.Popen[bytes], start: Path) -> None:
        """See `Launcher`: srun hands SIGUSR1 on to every rank. SIGTERM would have it kill them."""
        process.send_signal(signal.SIGUSR1)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """See `Launcher`: srun that is terminated has every node kill its ranks, and waits for that."""
        process.terminate()
        wait_for(process, KILL_SECONDS)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def _check_shared(self, root: Path) -> None:
        folder, token = root / ".nodes", secrets.token_hex(16)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"{token}.probe"
        probe.write_text(token, encoding="utf-8")
        answers = [probe.with_name(f"{probe.name}.{number}") for number in range(self.cluster.nnodes)]
        command = [*_srun(self.cluster.nnodes, 1), "sh", "-c", _ANSWER, str(probe)]
        try:
            asked = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            missing = [node for node, answer in zip(self.nodes, answers, strict=True) if not _holds(answer, token)]
        finally:
            for path in (probe, *answers):
                path.unlink(missing_ok=True)
        if missing:
            raise ConfigError(
                f"{', '.join(missing)} did not answer through paths.store={root}: give all nodes the same shared folder "
                f"(srun: {_last_line(asked.stderr)})."
            )


def check_allocation(config: Config, environment: Mapping[str, str]) -> None:
    """Hold what SLURM has given this job against what `cluster` counts on. Raises ConfigError with one sentence."""
    cluster = config.cluster
    if "SLURM_JOB_ID" not in environment:
        raise ConfigError(
            "cluster=slurm works inside an allocation, and SLURM_JOB_ID is not set: submit the command with sbatch "
            "(experiments/slurm.sbatch), or set cluster=torchrun."
        )
    missing = [program for program in PROGRAMS if shutil.which(program, path=environment.get("PATH")) is None]
    if missing:
        raise ConfigError(
            f"cluster=slurm starts ranks with srun, and {missing[0]} is not on PATH: install SLURM's client."
        )
    num_nodes = int(environment["SLURM_JOB_NUM_NODES"])
    if num_nodes != cluster.nnodes:
        raise ConfigError(
            f"cluster.nnodes={cluster.nnodes}, but the allocation has {num_nodes} nodes: make sbatch's --nodes the same."
        )
    tasks = tasks_per_node(environment)
    if tasks != [cluster.nproc_per_node] * num_nodes:
        counts = ", ".join(map(str, tasks))
        raise ConfigError(
            f"cluster.nproc_per_node={cluster.nproc_per_node} (x {num_nodes} nodes = {cluster.world_size} ranks), but the "
            f"allocation has {counts} tasks on its nodes: make sbatch's --ntasks-per-node the same, without --ntasks."
        )
    gpus = environment.get("SLURM_GPUS_ON_NODE")
    if gpus is not None and int(gpus) != cluster.nproc_per_node and config.trainer.accelerator is not Accelerator.cpu:
        raise ConfigError(
            f"cluster.nproc_per_node={cluster.nproc_per_node}, but the allocation has {gpus} GPUs on this node: make sbatch's "
            "--gpus-per-node the same, or set trainer.accelerator=cpu."
        )


def tasks_per_node(environment: Mapping[str, str]) -> list[int]:
    """Tasks of the job on each of its nodes. SLURM writes `2(x3),1` for three nodes with 2 and one with 1.

    Within a step SLURM_TASKS_PER_NODE is the step's; what sbatch was asked for stays in SLURM_NTASKS_PER_NODE.
    """
    if "SLURM_NTASKS_PER_NODE" in environment:
        return [int(environment["SLURM_NTASKS_PER_NODE"])] * int(environment["SLURM_JOB_NUM_NODES"])
    runs = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_TASKS_PER_NODE", ""))
    return [int(tasks) for tasks, times in runs for _ in range(int(times or 1))]


def _srun(num_nodes: int, tasks_per_node: int) -> list[str]:
    """A step of so many tasks on each node, beside whatever other step this process is part of."""
    command = ["srun", "--overlap", "--export=ALL", "--mpi=none", f"--nodes={num_nodes}"]
    command += [f"--ntasks={num_nodes * tasks_per_node}", f"--ntasks-per-node={tasks_per_node}"]
    if cpus := os.environ.get("SLURM_CPUS_PER_TASK"):  # srun of SLURM 22.05 and later does not read it
        command.append(f"--cpus-per-task={cpus}")
    return command


def _expand(nodes: str) -> list[str]:
    """The names of the nodes that SLURM writes as `n[1-2]`."""
    return _ask("scontrol", "show", "hostnames", nodes).split()


def _ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ConfigError(f"SLURM does not answer `{' '.join(command)}`: {_last_line(done.stderr)}.")
    return done.stdout


def _holds(path: Path, token: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == token


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
