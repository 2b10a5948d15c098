"""Run a command for as long as another process lives, and end all of it: `python guard.py PID GRACE COMMAND...`.

A process of its own, because one that is killed with -9 cannot clean up after itself. It ends the command and every
process that comes of it when PID is no longer its parent, when it is told to (SIGTERM; a second one allows no more
grace), and when the command ends by itself; then it ends as the command did. Imports nothing but the standard library:
it is started by its path, in isolated mode, to be small and quick.

On Linux an orphan is handed to this process and not to init, so that a child is found even when it has begun a session
of its own. Elsewhere such a child escapes if its parent is dead too; what stays in the process group is found.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_POLL_SECONDS = 0.1
_KILL_SECONDS = 5.0  # what the kernel may take
_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_NOT_STARTED = 127  # as a shell says it


class Guard:
    """One command under guard."""

    def __init__(self, worker: int, grace: float) -> None:
        self.worker, self.grace, self.orders = worker, grace, 0

    def run(self, command: list[str]) -> int:
        """Run the command to its end; its exit status, negative for a signal."""
        signal.signal(signal.SIGTERM, self._take_order)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        prctl = _load_prctl()
        prctl(_SET_CHILD_SUBREAPER, 1)
        process = subprocess.Popen(command, preexec_fn=lambda: prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL))
        while process.poll() is None and not self.orders and os.getppid() == self.worker:
            time.sleep(_POLL_SECONDS)
        self._end_all(process)
        return process.wait()

    def _take_order(self, *_: object) -> None:
        self.orders += 1

    def _end_all(self, process: subprocess.Popen[bytes]) -> None:
        allowed = min(self.orders, 1)
        _signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self.grace
        while _is_any_left(process) and time.monotonic() < deadline and self.orders <= allowed:
            time.sleep(_POLL_SECONDS / 2)
        deadline = time.monotonic() + _KILL_SECONDS
        while _is_any_left(process) and time.monotonic() < deadline:
            _signal_all(signal.SIGKILL)  # again and again: they may be forking
            time.sleep(_POLL_SECONDS / 2)


def _load_prctl() -> Callable[[int, int], int]:
    """Linux's prctl(2); elsewhere a call that does nothing."""
    if sys.platform != "linux":
        return lambda option, value: 0
    prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    return prctl


def _is_any_left(process: subprocess.Popen[bytes]) -> bool:
    """True while a process of the command is left. The dead are reaped on the way: a zombie would count for ever."""
    process.poll()
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
    return bool(_descendants())


def _signal_all(number: signal.Signals) -> None:
    for pid in _descendants():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # it ended meanwhile


def _descendants() -> set[int]:
    """Processes that come of this one, and those of its group."""
    table, own = _read_processes(), os.getpid()
    found, latest = {own}, {own}
    while latest:
        latest = {pid for pid, (parent, _) in table.items() if parent in latest} - found
        found |= latest
    return found.union(pid for pid, (_, group) in table.items() if group == os.getpgrp()) - {own}


def _read_processes() -> dict[int, tuple[int, int]]:
    """(parent, group) of every living process; zombies are left out."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in listed.stdout.splitlines()]
        return {int(pid): (int(parent), int(group)) for pid, parent, group, state in rows if state[0] != "Z"}
    table = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it ended meanwhile
            state, parent, group = stat.rpartition(")")[2].split()[:3]  # the name before may hold blanks and brackets
            if state != "Z":
                table[int(entry.name)] = (int(parent), int(group))
    return table


def _end_like(status: int) -> None:
    """End as the command did, by its exit status or by its signal."""
    if status >= 0:
        sys.exit(status)
    if -status in (signal.SIGTERM, signal.SIGINT):  # the two that are handled above
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)


if __name__ == "__main__":
    try:
        ended = Guard(int(sys.argv[1]), float(sys.argv[2])).run(sys.argv[3:])
    except OSError as error:
        print(f"cannot start {sys.argv[3]!r}: {error.strerror}", file=sys.stderr)
        sys.exit(_NOT_STARTED)
    _end_like(ended)
