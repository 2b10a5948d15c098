"""What one machine measured: the results file, and its table in docs/performance.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from measure import Case
from medcritical.errors import MedCriticalError
from medcritical.reporting.markup import to_markdown
from medcritical.reporting.tables import Table

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results" / "cpu.json"
PAGE = REPOSITORY / "docs" / "performance.md"
BEGIN, END = "<!-- bench:begin (written by `make bench`) -->", "<!-- bench:end -->"
LIBRARIES = ("torch", "transformers", "peft", "lightning", "trl", "medcritical")


class Results(msgspec.Struct, frozen=True):
    """`load` is the load average when the last case was done; above 1, others worked too."""

    machine: str
    threads: int
    load: float
    versions: dict[str, str]
    commit: str
    cases: list[Case]


def record(cases: Sequence[Case]) -> None:
    """Add `cases` to the results file, write the page's table anew and print it.

    Cases of the same names take the place of the old ones. Those of another machine, of other versions or another
    commit do not go with the new ones: their file is kept beside, as cpu-before.json.
    """
    load = round(os.getloadavg()[0], 1)
    now = Results(_machine(), torch.get_num_threads(), load, versions(), _commit(), list(cases))
    if RESULTS.is_file():
        before = read_results(RESULTS)
        if (before.machine, before.versions, before.commit) == (now.machine, now.versions, now.commit):
            names = {case.name for case in cases}
            now.cases[:0] = [case for case in before.cases if case.name not in names]
        else:
            RESULTS.replace(RESULTS.with_name(f"{RESULTS.stem}-before.json"))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=1) + b"\n")
    table = results_table(now)
    PAGE.write_text(replace_table(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(table)


def read_results(path: Path) -> Results:
    """The results file at `path`. Raises MedCriticalError when another version of the benchmark wrote it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except msgspec.DecodeError as error:
        raise MedCriticalError(
            f"{path} was written by another version of the benchmark; delete it ({error})."
        ) from error


def replace_table(page: str, table: str) -> str:
    """`page` with `table` between its two marks. Raises MedCriticalError where it has no such marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MedCriticalError(f"{PAGE} has no lines {BEGIN!r} and {END!r} to put the table between.")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def results_table(results: Results) -> str:
    """Every case in a line, in Markdown; what was measured on and each case's note below."""
    header = ("case", "peer", "ratio", "range", "wall", "target", "memory", "target", "reached", "ours", "peer's")
    rows = [
        (
            case.name,
            case.peer,
            f"{case.ratio:.2f}",
            f"{case.lowest:.2f} … {case.highest:.2f}",
            f"{case.wall_ratio:.2f}",
            _number(case.target.ratio),
            _number(case.memory_ratio),
            _number(case.target.memory_ratio),
            {None: None, True: "yes", False: "NO"}[case.is_reached],
            f"{case.ours_tokens_per_second:,.0f}",
            f"{case.peer_tokens_per_second:,.0f}",
        )
        for case in results.cases
    ]
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    notes = (
        "ratio: CPU seconds per token, the peer's / ours, median of the turns and their range; above 1 ours is faster; "
        "wall: the same of wall seconds",
        "memory: peak resident memory of a fresh process, ours / the peer's; below 1 ours needs less",
        "ours, peer's: real tokens (no padding, a prompt counted with each of its responses) per CPU second",
        f"{results.machine}, {results.threads} thread, load average {results.load}; {versions}; commit {results.commit}",
        *(f"{case.name}: {_describe(case)}" for case in results.cases),
    )
    return to_markdown(Table(header, tuple(rows), notes))


def _describe(case: Case) -> str:
    turns = f"{len(case.runs)} turns" if case.runs else ""
    peaks = "" if case.peaks is None else f"peak {case.peaks.ours:.2f} GB against {case.peaks.peer:.2f} GB"
    return "; ".join(part for part in (turns, peaks, case.note) if part)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _machine() -> str:
    """The processor by its own name, where the system tells it, and the number of cores."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """Of Python and of what is measured."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _commit() -> str:
    """The commit measured, marked where the program or a benchmark differs from it."""
    commit = _git("rev-parse", "--short=12", "HEAD").strip() or "no git checkout"
    changed = _git("status", "--porcelain", "--", "src", "conf", "benchmarks/*.py")
    return f"{commit} with changes" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8", check=False
    )
    return done.stdout
