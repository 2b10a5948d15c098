"""What lies in a run's folder beside its results: what was planned, why it failed, and who works in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcritical.errors import ArtefactError
from medcritical.records import Record
from medcritical.reporting.summary import SUMMARY
from medcritical.store import ArtefactRef, Store, read_json, write_json
from medcritical.store.jsonl import readable_write_errors
from medcritical.store.locks import hold, is_held

CONFIG = "config.json"
LOG = "worker.log"
PLAN = "plan.json"
WANDB = "wandb"  # W&B's own name for what it makes in a folder
_FAILURE = "failure.json"
_GATHERED = "gathered.json"  # the report whose results lie here, all of them
_LOCK = ".lock"
_MACHINE = "machine-"
_OTHER_MACHINE = re.compile(rf"{_MACHINE}[0-9]{{1,7}}")  # 8 digits may be the hash of a run with the name "machine"


class PlannedCall(Record, frozen=True, kw_only=True):
    """One stage call of a run. `seconds` is what it was thought to take, null where nothing could be said."""

    ref: ArtefactRef
    label: str
    inputs: dict[str, ArtefactRef]
    seconds: float | None


class PlannedRun(Record, frozen=True, kw_only=True):
    """A run before it starts. `swept` are the overrides in which a cell differs from the others of its sweep."""

    swept: list[str]
    store: str
    calls: list[PlannedCall]

    @property
    def report(self) -> ArtefactRef:
        """The artefact that all others serve."""
        return self.calls[-1].ref


class Failure(Record, frozen=True, kw_only=True):
    """Why a run ended early. `stage` is empty where no stage is to blame."""

    stage: str
    message: str
    log: str
    exit_code: int


class RunFolder:
    """`<outputs>/<name>-<hash of the configuration>/`.

    Machines that run the same command may share it: the first gathers the results there, and the others have a folder of
    their own in it for plan, log, failure and lock.
    """

    def __init__(self, path: Path, machine: int = 0) -> None:
        self.name, self.gathers = path.name, machine == 0
        self.path = path if self.gathers else path / f"{_MACHINE}{machine}"

    def planned(self) -> PlannedRun:
        """What was planned. Raises ArtefactError when the folder was never prepared."""
        return read_json(self.path / PLAN, PlannedRun)

    def plan(self, run: PlannedRun) -> None:
        """Say what is to be done here."""
        write_json(self.path / PLAN, run)

    def failure(self) -> Failure | None:
        """How the last attempt ended, if it failed."""
        path = self.path / _FAILURE
        return read_json(path, Failure) if path.is_file() else None

    def fail(self, failure: Failure) -> None:
        """Say why an attempt ended."""
        write_json(self.path / _FAILURE, failure)

    def forgive(self) -> None:
        """Forget a failure, for another attempt."""
        with readable_write_errors(self.path):
            (self.path / _FAILURE).unlink(missing_ok=True)

    def is_done(self, store: Store, report: ArtefactRef) -> bool:
        """True when the results are of this plan, and here if this machine gathers them.

        Results that lie here may be of other data under the same configuration, or of the last attempt: which report they
        are of decides. Where an earlier version gathered them nothing says so, and they are gathered again.
        """
        return store.is_complete(report) and (not self.gathers or self._holds(report))

    def _holds(self, report: ArtefactRef) -> bool:
        if not all((self.path / name).is_file() for name in (SUMMARY, _GATHERED)):
            return False
        try:
            return read_json(self.path / _GATHERED, ArtefactRef) == report
        except ArtefactError:  # damaged: gathering again mends it
            return False

    def is_outdated(self) -> bool:
        """True when the results that lie here are not those of the plan that was made last."""
        lies_here = (self.path / _GATHERED).is_file() and (self.path / PLAN).is_file()
        return lies_here and not self._holds(self.planned().report)

    @contextmanager
    def gathering(self, report: ArtefactRef) -> Iterator[None]:
        """Put the results of a report here. A kill before the block has ended leaves none that count."""
        with readable_write_errors(self.path):
            (self.path / _GATHERED).unlink(missing_ok=True)
        yield
        write_json(self.path / _GATHERED, report)

    def is_exported(self) -> bool:
        """True when a W&B run was made of the results, whatever became of it."""
        return (self.path / WANDB).is_dir()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Work in the folder: one process at a time, the others wait."""
        with hold(self.path / _LOCK):
            yield

    def is_held(self) -> bool:
        """True while a process works in the folder."""
        return is_held(self.path / _LOCK)


def run_folders(above: Path) -> list[RunFolder]:
    """The prepared run folders, those of machine 0: the folder itself, or up to two levels below it, by name."""
    found = [path.parent for depth in ("", "*/", "*/*/") for path in above.glob(f"{depth}{PLAN}")]
    return [RunFolder(path) for path in sorted(found) if not _OTHER_MACHINE.fullmatch(path.name)]
