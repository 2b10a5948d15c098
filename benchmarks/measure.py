"""Ours against a peer, turn by turn in one process; the results file and its table.

CPU seconds are counted and not wall seconds, and the two sides take turns (A B A B), so that other work on the machine
and a clock that slows down meet both alike. What is reported is the ratio of each turn; seconds differ from day to day.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from medcritical.reporting.markup import to_markdown
from medcritical.reporting.tables import Table

RESULTS = Path(__file__).resolve().parent / "results" / "cpu.json"
LIBRARIES = ("torch", "transformers", "lightning", "medcritical")

Prepare = Callable[[int], Callable[[], int]]
"""Turn number -> the work to time, which returns how many tokens it was. What comes before the work is not timed."""


class Side(msgspec.Struct, frozen=True):
    """One side of one turn: CPU seconds of all threads, and tokens."""

    seconds: float
    tokens: int


class Turn(msgspec.Struct, frozen=True):
    """The same work done by both, one after the other."""

    ours: Side
    peer: Side

    @property
    def ratio(self) -> float:
        """CPU seconds per token, ours divided by the peer's: below 1 ours is cheaper."""
        return (self.ours.seconds / self.ours.tokens) / (self.peer.seconds / self.peer.tokens)


class Case(msgspec.Struct, frozen=True):
    """One comparison. `ratio` is the median over the turns; rates are tokens per CPU second, medians too."""

    name: str
    peer: str
    ratio: float
    lowest: float
    highest: float
    ours_tokens_per_second: float
    peer_tokens_per_second: float
    note: str
    runs: list[Turn]


class Results(msgspec.Struct, frozen=True):
    """What one machine measured on one commit. `load` is the load average at the end; above 1, others worked too."""

    machine: str
    threads: int
    load: float
    versions: dict[str, str]
    commit: str
    cases: list[Case]


def read_arguments(description: str) -> int:
    """The number of turns that the command line asks for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--turns", type=int, default=7, help="timed turns of each side (default 7)")
    turns: int = parser.parse_args().turns
    return turns


def compare(name: str, peer: str, ours: Prepare, theirs: Prepare, *, turns: int, note: str) -> Case:
    """Time `ours` and `theirs` in turns.

    Both must have run before, best to check that they do the same work: the first run in a process pays for what the
    later ones find ready.
    """
    measured = [Turn(_time(ours(turn)), _time(theirs(turn))) for turn in range(turns)]
    ratios = [turn.ratio for turn in measured]
    return Case(
        name=name,
        peer=peer,
        ratio=round(statistics.median(ratios), 3),
        lowest=round(min(ratios), 3),
        highest=round(max(ratios), 3),
        ours_tokens_per_second=round(statistics.median(turn.ours.tokens / turn.ours.seconds for turn in measured)),
        peer_tokens_per_second=round(statistics.median(turn.peer.tokens / turn.peer.seconds for turn in measured)),
        note=note,
        runs=measured,
    )


def _time(work: Callable[[], int]) -> Side:
    gc.collect()
    start = time.process_time()
    tokens = work()
    return Side(round(time.process_time() - start, 4), tokens)


def record(cases: Sequence[Case]) -> None:
    """Write `cases` to the results file and print all it holds. Cases of another machine or commit are dropped."""
    now = Results(
        _machine(), torch.get_num_threads(), round(os.getloadavg()[0], 1), _versions(), _commit(), list(cases)
    )
    if RESULTS.is_file():
        before = msgspec.json.decode(RESULTS.read_bytes(), type=Results)
        if (before.machine, before.versions, before.commit) == (now.machine, now.versions, now.commit):
            names = {case.name for case in cases}
            now.cases[:0] = [case for case in before.cases if case.name not in names]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=1) + b"\n")
    print(to_markdown(_table(now)))


def _table(results: Results) -> Table:
    header = ("case", "peer", "ratio", "lowest … highest", "ours, tokens/s", "peer, tokens/s", "turns")
    rows = [
        (
            case.name,
            case.peer,
            f"{case.ratio:.2f}",
            f"{case.lowest:.2f} … {case.highest:.2f}",
            f"{case.ours_tokens_per_second:,.0f}",
            f"{case.peer_tokens_per_second:,.0f}",
            str(len(case.runs)),
        )
        for case in results.cases
    ]
    notes = ["ratio: CPU seconds per token, ours / peer, median of the turns; below 1 ours is cheaper"]
    notes += [f"{case.name}: {case.note}" for case in results.cases]
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    notes.append(
        f"{results.machine}, {results.threads} thread, load average {results.load}; {versions}; {results.commit}"
    )
    return Table(header, tuple(rows), tuple(notes))


def _machine() -> str:
    """The processor by its own name, where the system tells it, and the number of cores."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _commit() -> str:
    """The commit measured, marked where the program or a benchmark differs from it."""
    commit = _git("rev-parse", "--short=12", "HEAD").strip() or "no git checkout"
    changed = _git("status", "--porcelain", "--", "src", "conf", "benchmarks/*.py")
    return f"{commit} with changes" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=RESULTS.parents[2], capture_output=True, text=True, encoding="utf-8", check=False
    )
    return done.stdout
