"""Which artefacts of a store the run folders below a folder name: as planned, or in the lineage of their results."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from medcritical.errors import ArtefactError, DataError
from medcritical.pipeline.run_folder import PLAN
from medcritical.reporting.summary import SUMMARY
from medcritical.store import ArtefactRef, read_json, write_json
from medcritical.store.hashing import hash_json

T = TypeVar("T")
_NOTES = ".runs"


class _Call(msgspec.Struct):
    ref: ArtefactRef


class _Plan(msgspec.Struct):
    """What the plans of all versions have; `store` is absolute."""

    calls: list[_Call]
    store: str = ""


class _Summary(msgspec.Struct):
    """What the summaries of all versions have; `store` is a path from the run folder."""

    lineage: dict[str, list[str]] = {}
    store: str = ""


@dataclass(frozen=True)
class Named:
    """What a run folder names: artefacts ("<stage>/<16 digits>"), and the stores that they lie in."""

    artefacts: set[str] = field(default_factory=set)
    stores: set[Path] = field(default_factory=set)


def note_run(folder: Path, store: Path) -> None:
    """Say in the store where a run that uses it has its folder, so that upkeep finds it wherever it lies.

    A store that this process may not write to is left as it is. Raises ArtefactError when the disk is full.
    """
    folder = folder.resolve()
    note = store / _NOTES / f"{hash_json(str(folder))[:16]}.json"
    if not note.exists() and os.access(store, os.W_OK):
        write_json(note, str(folder))


def named_by_runs(outputs: Collection[Path], store: Path) -> dict[Path, Named]:
    """What is named by the run folders below `outputs`, and by those that the store itself knows of and that are there.

    Raises:
        DataError: there is no such folder of runs.
        ArtefactError: a folder, or a run's plan or summary, cannot be read, so that nobody knows what is needed.
    """
    found, seen = dict[Path, Named](), {store.resolve()}
    for above in outputs:
        if not above.is_dir():
            raise DataError(f"there is no folder {above}: give the folder of the runs with --outputs.")
    for above in (*outputs, *_noted(store)):
        for path in _files(above, seen):
            run = found.setdefault(path.parent, Named())
            names, place = _in_plan(path) if path.name == PLAN else _in_summary(path)
            run.artefacts.update(names)
            run.stores.update(place)
    return found


def _noted(store: Path) -> list[Path]:
    folders = [Path(read_json(note, str)) for note in sorted((store / _NOTES).glob("*.json"))]
    return [folder for folder in folders if folder.is_dir()]


def _files(above: Path, seen: set[Path]) -> Iterator[Path]:
    """Plans and summaries below a folder, behind links too; in no folder of `seen`, to which those looked at are added."""
    for folder, below, files in os.walk(above, onerror=_refuse, followlinks=True):
        place = Path(folder).resolve()
        if place in seen:  # a link led here before, in a circle perhaps
            below.clear()
            continue
        seen.add(place)
        below.sort()
        yield from (Path(folder) / name for name in (PLAN, SUMMARY) if name in files)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # else it was removed meanwhile
        raise ArtefactError(
            f"{error.filename} cannot be read ({error.strerror}), so that nobody knows what the runs in it need: "
            "make it readable, or move it out of the folder of runs."
        ) from error


def _in_plan(path: Path) -> tuple[set[str], set[Path]]:
    plan = _read(path, _Plan)
    return {str(call.ref) for call in plan.calls}, {Path(plan.store).resolve()} if plan.store else set()


def _in_summary(path: Path) -> tuple[set[str], set[Path]]:
    summary = _read(path, _Summary)
    names = {*summary.lineage, *(name for names in summary.lineage.values() for name in names)}
    return names, {(path.parent.resolve() / summary.store).resolve()} if summary.store else set()


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"{path} cannot be read ({error}), so that nobody knows what its run needs: mend it, or remove that run's folder."
        ) from error
