"""Two machines on this one: network namespaces with a cable between them, and commands that run in them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

import ranked_runs

_PREFIX = "medcritical"
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def reason_to_skip() -> str:
    """Why there can be no machines here; empty where there can."""
    if os.getuid() != 0:
        return "network namespaces need root"
    if which("ip") is None:
        return "no `ip`: apt-get install iproute2"
    tried = subprocess.run(["ip", "netns", "add", f"{_PREFIX}-trial"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", f"{_PREFIX}-trial"], capture_output=True)
    return f"no network namespaces: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class Command:
    """A command that runs in a machine: what it has told so far, each line with its time (seconds since the epoch)."""

    process: subprocess.Popen[str]
    lines: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append((time.time(), line))

    @property
    def told(self) -> str:
        """All of it."""
        return "".join(line for _, line in self.lines)

    def when(self, words: str) -> float:
        """When it first told a line with these words; waits for it."""
        deadline = time.monotonic() + ranked_runs.PATIENCE
        while time.monotonic() < deadline:
            for moment, line in list(self.lines):
                if words in line:
                    return moment
            assert self.process.poll() is None or self._reader.is_alive(), self.told
            time.sleep(0.05)
        raise AssertionError(f"never told {words!r}:\n{self.told}")

    def end(self) -> int:
        """Its exit status, when it has ended."""
        code = self.process.wait(ranked_runs.PATIENCE)
        self._reader.join()
        return code


class Machine:
    """One namespace, with an end of the cable and an address."""

    def __init__(self, number: int) -> None:
        self.number, self.address = number, ADDRESSES[number]
        self.name, self.cable = f"{_PREFIX}-{os.getpid()}-{number}", f"mc{number}"

    def start(self, root: Path, *overrides: str) -> Command:
        """`medcritical` over both machines, with this one's number; store and outputs are below `root` for both."""
        ranks = ("cluster=torchrun", "cluster.nnodes=2", f"cluster.node_rank={self.number}")
        before = ("ip", "netns", "exec", self.name)
        endpoint = f"cluster.rdzv_endpoint={ADDRESSES[0]}:29500"
        return Command(ranked_runs.start_command(root, *ranks, endpoint, *overrides, before=before))

    def kill(self) -> int:
        """Kill every process at once, as a power cut does but for the connections: the kernel closes them. How many."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout.split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return len(pids)

    def switch(self, state: str) -> None:
        """Take its end of the cable `down` or `up`. Connections stay, and hear nothing."""
        _ip("-n", self.name, "link", "set", self.cable, state)


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines; they and all that runs in them are gone afterwards, and so are those of tests that were killed."""
    _clear()
    machines = Machine(0), Machine(1)
    try:
        for machine in machines:
            _ip("netns", "add", machine.name)
        first, second = machines
        _ip("link", "add", first.cable, "netns", first.name, "type", "veth", "peer", second.cable, "netns", second.name)
        for machine in machines:
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", machine.cable)
            for device in ("lo", machine.cable):
                _ip("-n", machine.name, "link", "set", device, "up")
        yield machines
    finally:
        for machine in machines:
            _remove(machine.name)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _clear() -> None:
    """Remove machines whose test is no more."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        prefix, _, rest = name.partition("-")
        owner = rest.partition("-")[0]
        if prefix == _PREFIX and owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            _remove(name)


def _remove(name: str) -> None:
    while pids := subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.1)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)  # the cable goes with it
