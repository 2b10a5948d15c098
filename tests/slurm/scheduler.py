"""A real SLURM on this machine: munged, slurmctld and two slurmd, in a folder of their own and without systemd."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

PACKAGES = {"munged": "munge", "slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-client"}
NODES = ("n1", "n2")
SETTLE_SECONDS = 60.0  # for daemons to come up and to go

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
KillWait=5
SchedulerParameters=sched_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 GraceTime=600
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""


@dataclass(frozen=True)
class Scheduler:
    """A SLURM with the nodes n1 and n2, a partition for jobs and one, `urgent`, that pre-empts them.

    Attributes:
        environment: for commands that are to use it; `medcritical` is on their PATH.
        private: a folder that each node has for itself; every other one is shared.
    """

    environment: dict[str, str]
    private: Path

    def run(self, *command: str, cwd: Path, timeout: float = 600.0) -> subprocess.CompletedProcess[str]:
        """A command of SLURM's, or one that uses it."""
        return subprocess.run(
            command, env=self.environment, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
        )

    def submit(self, *command: str, cwd: Path) -> str:
        """The id of a new job; its output goes to `job.log` below `cwd`."""
        done = self.run("sbatch", "--parsable", "--output=job.log", *command, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What SLURM knows of a job, by its own names."""
        shown = self.run("scontrol", "show", "job", number, "--oneliner", cwd=self.private.parent).stdout
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def wait_for(self, number: str, timeout: float) -> dict[str, str]:
        """What SLURM knows of a job that has ended."""
        wait_until(lambda: self.job(number)["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"), timeout)
        return self.job(number)


def reason_to_skip() -> str:
    """Why no SLURM can be started here; empty where one can."""
    if os.getuid() != 0:
        return "a SLURM of its own needs root"
    packages = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    return f"no SLURM here: apt-get install {' '.join(packages)}" if packages else ""


def wait_until(is_so: Callable[[], bool], timeout: float) -> None:
    """Return when it is so; fails after so many seconds."""
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout:g} seconds"
        time.sleep(0.2)


@contextmanager
def scheduler(folder: Path) -> Iterator[Scheduler]:
    """A SLURM that works, for as long as the block runs. Nothing of it is left afterwards, jobs included."""
    (folder / "munge").mkdir(mode=0o755)
    for name in ("state", "private", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(folder=folder, host=socket.gethostname(), ports=_free_ports(3)), encoding="utf-8"
    )
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
    slurm = Scheduler(environment, folder / "private")
    try:
        with ExitStack() as daemons:
            for command in _daemons(folder):
                daemons.enter_context(_daemon(command, environment, folder))
                if command[0] == "munged":
                    wait_until((folder / "munge" / "socket").exists, SETTLE_SECONDS)
            wait_until(
                lambda: slurm.run("sinfo", "-hN", "-pmain", "-o%t", cwd=folder).stdout == "idle\n" * 2, SETTLE_SECONDS
            )
            yield slurm
            slurm.run("scancel", "--user=root", cwd=folder)
            wait_until(lambda: not slurm.run("squeue", "-h", cwd=folder).stdout, SETTLE_SECONDS)
    finally:
        left = _processes_of(folder)
        for process in left:
            process.kill()
    assert not left, left


def _daemons(folder: Path) -> Iterator[list[str]]:
    """munged, slurmctld and a slurmd for each node, which sees a folder `private` of its own."""
    munge = [f"--{option}={folder}/munge/{option}" for option in ("socket", "pid-file", "log-file", "seed-file")]
    yield ["munged", "--foreground", "--force", f"--key-file={folder}/munge/key", *munge]
    yield ["slurmctld", "-D"]
    for node in NODES:
        mounted = f"mount -t tmpfs none {folder}/private && exec slurmd -D -N {node}"
        yield ["unshare", "--mount", "sh", "-c", mounted]


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / "daemons.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(SETTLE_SECONDS)


def _processes_of(folder: Path) -> list[psutil.Process]:
    """Those that use this SLURM, but this one."""
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = process.environ().get("SLURM_CONF") == str(folder / "slurm.conf")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if is_ours:
            found.append(process)
    return found


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
