"""Beside the ranks of one start: their signs of life, and the guard that ends the start for all when one of them is lost.

torchrun sees only processes of its machine that have ended. A rank that is stopped, hangs, or sits on a machine that is gone
has not; the others wait for it as long as their collectives allow, and how that ends depends on the backend. The guard does not.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from medcritical.config.schema import ClusterConfig
from medcritical.pipeline import nodes

SUPERVISOR = "MEDCRITICAL_SUPERVISOR"
"""Environment variable with the process id of the command, where it is on the same machine as the ranks."""

REPORT_SECONDS = 5.0
"""How long ranks have, when the first of them has failed, to say what they know. Then they are killed."""

END_SECONDS = 60.0
"""How long ranks and what has started them have to end when the artefact is complete."""

_SUPERVISOR_EVERY = 1.0


def sign_interval(timeout_seconds: float) -> float:
    """Seconds between two signs of life of a rank: 20 within the timeout, and no less than one a minute."""
    return min(timeout_seconds / 20, 60.0)


def give_signs(pid_file: Path, timeout_seconds: float) -> None:
    """Touch the file now and then, from a thread of its own, for as long as this process runs.

    The thread also ends the process when its launcher or the command is gone: nobody would hear what it makes, and the next
    command must not meet it at work.
    """
    supervisor, launcher, interval = os.environ.get(SUPERVISOR), os.getppid(), sign_interval(timeout_seconds)

    def is_orphan() -> bool:
        return os.getppid() != launcher or (supervisor is not None and not psutil.pid_exists(int(supervisor)))

    def live() -> None:
        signed = time.monotonic()
        while True:
            time.sleep(min(interval, _SUPERVISOR_EVERY))
            if is_orphan():
                print("the command that started this rank is gone, and so the rank ends.", file=sys.stderr, flush=True)
                os._exit(1)
            if time.monotonic() - signed >= interval:
                signed = time.monotonic()
                with suppress(OSError):  # a store that is away for a moment; if it stays away the guard will say so
                    os.utime(pid_file)

    threading.Thread(target=live, daemon=True).start()


class Signs:
    """For how long each rank has given no sign of life, in seconds that this process itself was awake.

    It looks every so many seconds and no oftener, for each look asks the store about every rank.
    """

    def __init__(self, start: Path, every: float) -> None:
        self.start, self.every = start, every
        self.quiet: dict[int, float] = {}
        self._marks: dict[int, int] = {}
        self._looked = time.monotonic()

    def look(self) -> None:
        """Take note of every rank that has started and not ended well, if it is time to. Call it every `POLL_SECONDS`."""
        now = time.monotonic()
        passed = now - self._looked
        if passed < self.every:
            return
        passed = min(passed, 2 * max(self.every, nodes.POLL_SECONDS))  # nobody is quiet while nobody listens
        self._looked = now
        marks = nodes.marks_of_ranks(self.start)
        self.quiet = {
            rank: self.quiet.get(rank, 0.0) + passed if mark == self._marks.get(rank) else 0.0
            for rank, mark in marks.items()
        }
        self._marks = marks


class Guard:
    """Ends the ranks of this machine when a start is over, or cannot come to an end.

    Machine 0 judges: a start is over when a rank has failed, when another machine's torchrun has ended badly, or when a rank
    has given no sign of life, or a machine has not come, for `cluster.timeout_seconds`. The other machines end their ranks when
    machine 0 says so.
    """

    def __init__(self, start: Path, cluster: ClusterConfig) -> None:
        self.start, self.cluster = start, cluster
        self.signs = Signs(start, every=sign_interval(cluster.timeout_seconds))
        self.absent: list[int] = []
        """Machines for which this start has waited in vain."""

    def lost_ranks(self) -> list[int]:
        """Ranks that have been quiet for so long that they are stopped, or their machine is gone."""
        return [rank for rank, seconds in self.signs.quiet.items() if seconds >= self.cluster.timeout_seconds / 2]

    @contextmanager
    def guarding(self, kill: Callable[[], None]) -> Iterator[None]:
        """Watch while the block runs, and call `kill` when the ranks must end that have not by themselves."""
        over = threading.Event()
        must_kill = self._judge if self.cluster.node_rank == 0 else self._obey

        def watch() -> None:
            if must_kill(over):
                kill()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _obey(self, over: threading.Event) -> bool:
        """True as soon as machine 0 has ended the start; False when the ranks have ended before."""
        while not over.wait(nodes.POLL_SECONDS):
            if nodes.is_over(self.start):
                return True
            if nodes.is_gone(self.start):
                return not over.wait(END_SECONDS)
        return False

    def _judge(self, over: threading.Event) -> bool:
        """True when ranks must be killed; False when all have ended by themselves."""
        began, failed, have_come = time.monotonic(), 0.0, False
        while not over.wait(nodes.POLL_SECONDS):
            if nodes.is_gone(
                self.start
            ):  # torchrun would wait 300 seconds for one of another machine that is lost at the end
                return not over.wait(END_SECONDS)
            self.signs.look()
            if max(self.signs.quiet.values(), default=0.0) >= self.cluster.timeout_seconds:
                return True
            if not have_come and time.monotonic() - began >= self.cluster.timeout_seconds:
                self.absent, have_come = nodes.absent_machines(self.start, self.cluster), True
                if self.absent:
                    return True
            if nodes.has_failures(self.start):
                failed = failed or time.monotonic()
                if time.monotonic() - failed >= REPORT_SECONDS:
                    return True
        return False
