"""Which artefacts of a store the run folders below a folder name: as planned, or in the lineage of their results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from medcritical.errors import ArtefactError, DataError
from medcritical.pipeline.run_folder import PLAN
from medcritical.reporting.summary import SUMMARY
from medcritical.store import ArtefactRef

T = TypeVar("T")


class _Call(msgspec.Struct):
    ref: ArtefactRef


class _Plan(msgspec.Struct):
    """What the plans of all versions have."""

    calls: list[_Call]


class _Summary(msgspec.Struct):
    """What the summaries of all versions have."""

    lineage: dict[str, list[str]] = {}


def named_by_runs(outputs: Iterable[Path], store: Path) -> dict[Path, set[str]]:
    """Names of artefacts ("<stage>/<16 digits>") by run folder.

    Raises:
        DataError: there is no such folder of runs.
        ArtefactError: a run's plan or summary cannot be read, so that nobody knows what it needs.
    """
    found = dict[Path, set[str]]()
    for above in outputs:
        if not above.is_dir():
            raise DataError(f"there is no folder {above}: give the folder of the runs with --outputs.")
        for path in _files(above, store.resolve()):
            names = _in_plan(path) if path.name == PLAN else _in_summary(path)
            found.setdefault(path.parent, set()).update(names)
    return found


def _files(above: Path, store: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(above):
        below[:] = sorted(name for name in below if (Path(folder) / name).resolve() != store)
        yield from (Path(folder) / name for name in (PLAN, SUMMARY) if name in files)


def _in_plan(path: Path) -> set[str]:
    return {str(call.ref) for call in _read(path, _Plan).calls}


def _in_summary(path: Path) -> set[str]:
    lineage = _read(path, _Summary).lineage
    return {*lineage, *(name for names in lineage.values() for name in names)}


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"{path} cannot be read ({error}), so that nobody knows what its run needs: mend it, or remove that run's folder."
        ) from error
