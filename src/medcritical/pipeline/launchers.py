"""What starts ranks: torchrun on every machine, or srun (`slurm.py`) for a whole allocation. `ranked.py` supervises both.

A rank finds out who it is from the variables that torchrun sets, whoever has started it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

import psutil

from medcritical.config.schema import ClusterConfig
from medcritical.pipeline.guard import SUPERVISOR
from medcritical.pipeline.meeting import PORTS, interface_towards, present, split_endpoint
from medcritical.pipeline.nodes import Announcement, pid_path

AGENT_GRACE_SECONDS = 10.0  # for torchrun to see that its ranks have been killed


class Launcher(Protocol):
    """How ranks are started on machines that share a store, and asked to save and stop."""

    @property
    def name(self) -> str:
        """The program's."""
        ...

    def sharing(self, root: Path) -> AbstractContextManager[None]:
        """Within it the other machines find that they see the same store. Raises ConfigError where that is known not to be."""
        ...

    def next_meeting(self) -> Announcement:
        """Where the ranks of the next start meet: a port that no start has used before."""
        ...

    def command(self, start: Path, meeting: Announcement) -> list[str]:
        """Starts the ranks of a start and ends when all of them have."""
        ...

    def variables(self, meeting: Announcement) -> dict[str, str]:
        """Environment variables that ranks get where the command's own environment does not have them."""
        ...

    def ask_to_stop(self, process: subprocess.Popen[bytes], start: Path) -> None:
        """Have the ranks of the running command save and stop, as far as they have begun."""
        ...

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End the ranks at once, stopped ones too, and so the command."""
        ...


class Torchrun:
    """One torchrun on each machine, as many commands as machines."""

    name = "torchrun"

    def __init__(self, cluster: ClusterConfig) -> None:
        self.cluster, self.num_meetings = cluster, 0

    def sharing(self, root: Path) -> AbstractContextManager[None]:
        """See `Launcher`: the others ask, this machine answers."""
        return present(root, self.cluster) if self.cluster.nnodes > 1 else nullcontext()

    def next_meeting(self) -> Announcement:
        """See `Launcher`: a free port of this machine, or for several machines the next of `PORTS`."""
        if self.cluster.nnodes == 1:
            return Announcement("127.0.0.1", free_port(), endpoint="")
        host, port = split_endpoint(self.cluster.rdzv_endpoint)
        self.num_meetings += 1
        return Announcement(host, port + 1 + (self.num_meetings - 1) % (PORTS - 1), self.cluster.rdzv_endpoint)

    def command(self, start: Path, meeting: Announcement) -> list[str]:
        """See `Launcher`."""
        cluster = self.cluster
        return [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes", str(cluster.nnodes), "--node-rank", str(cluster.node_rank)),
            *("--nproc-per-node", str(cluster.nproc_per_node), "--max-restarts", "0"),
            *("--master-addr", meeting.host, "--master-port", str(meeting.port)),
            *("--rdzv-conf", f"timeout={cluster.timeout_seconds:.0f}"),
            *("-m", "medcritical.pipeline.rank", str(start)),
        ]

    def variables(self, meeting: Announcement) -> dict[str, str]:
        """See `Launcher`: this process, and gloo's network interface.

        Gloo would take the interface of the host's name: often loopback, where no other machine is.
        """
        interface = interface_towards(meeting.endpoint) if meeting.endpoint else None
        supervisor = {SUPERVISOR: str(os.getpid())}
        return supervisor if interface is None else {**supervisor, "GLOO_SOCKET_IFNAME": interface}

    def ask_to_stop(self, process: subprocess.Popen[bytes], start: Path) -> None:
        """See `Launcher`: this machine's ranks themselves, for torchrun would kill them after 30 seconds."""
        first = self.cluster.node_rank * self.cluster.nproc_per_node
        for rank in range(first, first + self.cluster.nproc_per_node):
            try:
                os.kill(int(pid_path(start, rank).read_text(encoding="utf-8")), signal.SIGTERM)
            except (FileNotFoundError, ValueError, ProcessLookupError):
                continue  # not started yet, or gone

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """See `Launcher`: the ranks, each in a session of its own; then torchrun, if that does not end it."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        wait_for(process, AGENT_GRACE_SECONDS)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Return when the process has ended, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
