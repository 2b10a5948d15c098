"""Ours against a peer, turn by turn in one process; peak memory, a fresh process for each side.

The two sides take turns (A B A B) and CPU seconds are counted beside wall seconds, so that other work on the machine and
a clock that slows down meet both alike. What is reported is the median of each turn's ratio; seconds differ from day to
day.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from medcritical.errors import MedCriticalError

THREADS = 1
"""CPU threads of every case: with several, threads that wait for each other are counted as work."""

Work = Callable[[], int]
"""Does the work to measure and returns how many tokens it was."""

Side = Callable[[], Work]
"""Sets one side up: what comes before the work is not timed, but is in its memory."""


class Target(msgspec.Struct, frozen=True):
    """What a case is to reach: `ratio` at least, `memory_ratio` at most. None: nothing was promised."""

    ratio: float | None = None
    memory_ratio: float | None = None


NOTHING_PROMISED = Target()


class Effort(msgspec.Struct, frozen=True):
    """One side of one turn: CPU seconds of all threads, wall seconds, and tokens."""

    cpu_seconds: float
    wall_seconds: float
    tokens: int


class Turn(msgspec.Struct, frozen=True):
    """The same work done by both, one after the other."""

    ours: Effort
    peer: Effort

    @property
    def ratio(self) -> float:
        """CPU seconds per token, the peer's divided by ours: above 1 ours is faster."""
        return (self.peer.cpu_seconds / self.peer.tokens) / (self.ours.cpu_seconds / self.ours.tokens)

    @property
    def wall_ratio(self) -> float:
        """The same of wall seconds."""
        return (self.peer.wall_seconds / self.peer.tokens) / (self.ours.wall_seconds / self.ours.tokens)


class Peaks(msgspec.Struct, frozen=True):
    """Most memory resident at any time, in GB (1e9 bytes), of a process that did one side's work once and nothing else."""

    ours: float
    peer: float


class Case(msgspec.Struct, frozen=True):
    """One comparison. Ratios are medians over the turns; rates are tokens per CPU second, medians too.

    `memory_ratio` is ours divided by the peer's; None, as `peaks`, where memory was not measured.
    """

    name: str
    peer: str
    ratio: float
    lowest: float
    highest: float
    wall_ratio: float
    memory_ratio: float | None
    target: Target
    ours_tokens_per_second: float
    peer_tokens_per_second: float
    peaks: Peaks | None
    note: str
    runs: list[Turn]

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target == NOTHING_PROMISED:
            return None
        is_fast = self.target.ratio is None or self.ratio >= self.target.ratio
        is_small = self.target.memory_ratio is None or (
            self.memory_ratio is not None and self.memory_ratio <= self.target.memory_ratio
        )
        return is_fast and is_small


@dataclass(frozen=True)
class Contest:
    """A case before it is measured.

    `note` is asked after the turns. With `measures_memory` each side is set up and run once in a process of its own.
    """

    name: str
    peer: str
    ours: Side
    theirs: Side
    target: Target = NOTHING_PROMISED
    note: Callable[[], str] = str
    measures_memory: bool = False


def compare(contest: Contest, *, turns: int, peaks: Peaks | None = None) -> Case:
    """Run both sides once unmeasured, since a first run pays for what later ones find ready, then `turns` times in turn."""
    ours, theirs = contest.ours(), contest.theirs()
    ours()
    theirs()
    return summarise(contest, [Turn(time_work(ours), time_work(theirs)) for _ in range(turns)], peaks)


def summarise(contest: Contest, runs: Sequence[Turn], peaks: Peaks | None = None) -> Case:
    """The case that measured turns make: medians, and the range of the ratio."""
    ratios = [turn.ratio for turn in runs]
    return Case(
        name=contest.name,
        peer=contest.peer,
        ratio=round(statistics.median(ratios), 3),
        lowest=round(min(ratios), 3),
        highest=round(max(ratios), 3),
        wall_ratio=round(statistics.median(turn.wall_ratio for turn in runs), 3),
        memory_ratio=None if peaks is None else round(peaks.ours / peaks.peer, 3),
        target=contest.target,
        ours_tokens_per_second=_rate([turn.ours for turn in runs]),
        peer_tokens_per_second=_rate([turn.peer for turn in runs]),
        peaks=peaks,
        note=contest.note(),
        runs=list(runs),
    )


def time_work(work: Work) -> Effort:
    """Do `work` once and measure it."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    tokens = work()
    return Effort(round(time.process_time() - cpu, 4), round(time.perf_counter() - wall, 4), tokens)


def _rate(efforts: Sequence[Effort]) -> float:
    return round(statistics.median(effort.tokens / effort.cpu_seconds for effort in efforts), 1)


def measure_peaks(script: Path, name: str) -> Peaks:
    """Ask `script` for the peak of each side of its contest `name`, each in a fresh process (see `report_peak`)."""

    def ask(side: str) -> float:
        command = [sys.executable, str(script), "--peak", name, side]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True)
        return round(float(done.stdout.splitlines()[-1]), 3)

    return Peaks(ours=ask("ours"), peer=ask("peer"))


def report_peak(contest: Contest, side: str) -> None:
    """Set up and run one side, "ours" or "peer", and print the process's peak as the last line."""
    {"ours": contest.ours, "peer": contest.theirs}[side]()()
    print(peak_resident())


def peak_resident() -> float:
    """Most memory this process has had resident, GB.

    Raises:
        MedCriticalError: the system does not tell. (`ru_maxrss`, which others tell, is inherited from the parent.)
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    if not kilobytes:
        raise MedCriticalError("Peak memory is read from /proc/self/status, which this system does not have.")
    return kilobytes[0] * 1024 / 1e9


def prepare_torch() -> None:
    """The same threads for every case."""
    torch.set_num_threads(THREADS)
