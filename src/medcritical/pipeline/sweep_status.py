"""How far the runs in a folder are, read from their plans, the store and its locks. Nothing here is written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from medcritical.errors import DataError
from medcritical.pipeline.run_folder import Failure, PlannedCall, PlannedRun, RunFolder, run_folders
from medcritical.records import Record
from medcritical.store import ArtefactRef, Store

State = Literal["done", "running", "failed", "waiting"]
SFT = "sft"
FURTHER_SFT = "sft_further"


class CellStatus(Record, frozen=True, kw_only=True):
    """One run. `running` are the stages being made now, by whichever process; `seconds_left` is a rough guess."""

    cell: str
    swept: list[str]
    state: State
    stages: int
    stages_done: int
    running: list[str]
    seconds_left: float | None
    failure: Failure | None


class SweepStatus(Record, frozen=True, kw_only=True):
    """All runs below a folder.

    `stages_executed` counts how often stages of these runs were made to their end in their store, by stage;
    `stages_executed_by_label` tells them apart further. An SFT that goes on from an SFT (the second pass of stage 1, the
    control that trains on) counts as `sft_further`. `stages_missing` counts each shared one once. `seconds_left`
    is for all of them with as many cells at a time as run now; null where nothing can be said.
    """

    done: int
    running: int
    failed: int
    waiting: int
    seconds_left: float | None
    stages_executed: dict[str, int]
    stages_executed_by_label: dict[str, dict[str, int]]
    stages_missing: dict[str, int]
    cells: list[CellStatus]


def read_status(above: Path) -> SweepStatus:
    """The state of every run in or below a folder. Raises DataError where there is none."""
    if not above.is_dir():
        raise DataError(f"there is no folder {above}: give the folder of a sweep, its paths.outputs.")
    folders = run_folders(above)
    if not folders:
        raise DataError(f"no run was ever planned in {above}: give the folder of a sweep, its paths.outputs.")
    planned = {folder: folder.planned() for folder in folders}
    calls = _calls(planned.values())
    done = {key for key, (store, call) in calls.items() if store.is_complete(call.ref)}
    seconds = _guesses(calls, done)
    cells = [_cell(folder, run, done, seconds) for folder, run in planned.items()]
    states = Counter(cell.state for cell in cells)
    executed = _executed(calls)
    missing = {key: call for key, (_, call) in calls.items() if key not in done}
    return SweepStatus(
        done=states["done"],
        running=states["running"],
        failed=states["failed"],
        waiting=states["waiting"],
        seconds_left=_left(missing, seconds, at_a_time=max(1, states["running"])),
        stages_executed={stage: sum(counts.values()) for stage, counts in executed.items()},
        stages_executed_by_label=executed,
        stages_missing=dict(Counter(call.ref.stage for call in missing.values())),
        cells=cells,
    )


def cell_state(folder: RunFolder, run: PlannedRun) -> State:
    """done, running (a process works in the folder), failed (the last attempt), or waiting."""
    if folder.is_held():
        return "running"
    if folder.is_done(Store(Path(run.store)), run.report):
        return "done"
    return "failed" if folder.failure() is not None else "waiting"


Calls = Mapping[str, tuple[Store, PlannedCall]]


def _calls(runs: Iterable[PlannedRun]) -> Calls:
    """Every planned call once, by key, with its store."""
    found: dict[str, tuple[Store, PlannedCall]] = {}
    for run in runs:
        store = Store(Path(run.store))
        for call in run.calls:
            found.setdefault(call.ref.key, (store, call))
    return found


def _cell(folder: RunFolder, run: PlannedRun, done: set[str], seconds: Mapping[str, float | None]) -> CellStatus:
    store = Store(Path(run.store))
    missing = {call.ref.key: call for call in run.calls if call.ref.key not in done}
    state = cell_state(folder, run)
    return CellStatus(
        cell=folder.path.name,
        swept=run.swept,
        state=state,
        stages=len(run.calls),
        stages_done=len(run.calls) - len(missing),
        running=[f"{call.ref.stage} {call.label}" for call in missing.values() if store.is_locked(call.ref)],
        seconds_left=_left(missing, seconds, at_a_time=1),
        failure=folder.failure() if state == "failed" else None,
    )


def _guesses(calls: Calls, done: set[str]) -> dict[str, float | None]:
    """Seconds for each missing call: the mean of finished ones with its stage and label, else what was planned."""
    measured: dict[tuple[str, str], list[float]] = defaultdict(list)
    for key in done:
        store, call = calls[key]
        measured[call.ref.stage, call.label].append(store.manifest(call.ref).costs.seconds)
    guesses: dict[str, float | None] = {}
    for key, (_, call) in calls.items():
        alike = measured[call.ref.stage, call.label]
        guesses[key] = sum(alike) / len(alike) if alike else call.seconds
    return guesses


def _left(missing: Mapping[str, PlannedCall], seconds: Mapping[str, float | None], *, at_a_time: int) -> float | None:
    known = [guess for key in missing if (guess := seconds[key]) is not None]
    return round(sum(known) / at_a_time, 1) if len(known) == len(missing) else None


def _executed(calls: Calls) -> dict[str, dict[str, int]]:
    """How often each stage was made, by stage and label."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for store, call in calls.values():
        executions = store.executions(call.ref)
        if executions:
            counts[_kind(call)][call.label] += executions
    return {stage: dict(labels) for stage, labels in counts.items()}


def _kind(call: PlannedCall) -> str:
    start: ArtefactRef | None = call.inputs.get("checkpoint")
    return FURTHER_SFT if call.ref.stage == SFT and start is not None and start.stage != "student" else call.ref.stage
