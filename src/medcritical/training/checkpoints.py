"""Checkpoints of an unfinished training on disk: complete or ignored, the newest sound one first, two kept.

A checkpoint is a folder `step-00000120`. Its marker, written last and by rename, lists size and SHA-256 of every file. Files
are read only after they match it: DeepSpeed's own are pickles.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medcritical.errors import ConfigError
from medcritical.records import Record
from medcritical.store.artefact import FileEntry
from medcritical.store.hashing import hash_file
from medcritical.store.jsonl import read_json, readable_write_errors, write_json
from medcritical.training.ranks import ALONE, Ranks, from_first_rank, gather_over_ranks

MARKER = "complete.json"
KEPT = 2
_STEP = "step-"


class Marker(Record, frozen=True, kw_only=True):
    """What a complete checkpoint is: present means complete.

    Attributes:
        step: optimizer steps done.
        layout: how the training was spread; one spread otherwise cannot go on from it exactly.
        save_seconds: what a save has taken at most so far; 0: not known.
    """

    step: int
    layout: dict[str, Any]
    files: dict[str, FileEntry]
    save_seconds: float = 0.0


def place(root: Path, step: int) -> Path:
    """The folder of the checkpoint after `step` optimizer steps."""
    return root / f"{_STEP}{step:08}"


def clear_place(folder: Path) -> None:
    """An empty folder for a new checkpoint."""
    with readable_write_errors(folder):
        _remove(folder)
        folder.mkdir(parents=True)


def list_files(folder: Path) -> list[str]:
    """Names of a checkpoint's files, in order, without its marker."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files if path.name != MARKER)


def describe_files(folder: Path, names: Sequence[str]) -> dict[str, FileEntry]:
    """Size and hash of some of a checkpoint's files."""
    return {name: FileEntry(bytes=(folder / name).stat().st_size, sha256=hash_file(folder / name)) for name in names}


def complete(root: Path, marker: Marker) -> None:
    """Write the marker: from here on the checkpoint exists. Older ones beyond the newest two are removed."""
    write_json(place(root, marker.step) / MARKER, marker)
    steps = _complete_steps(root)
    for step in _steps(root):
        if step not in steps[-KEPT:]:
            _remove(place(root, step))


def find_newest(root: Path, layout: dict[str, Any], tell: Callable[[str], None], ranks: Ranks = ALONE) -> Marker | None:
    """The newest checkpoint whose files are what its marker says; None where there is none. All ranks must call it.

    Rank 0 decides what there is. Every rank hashes its share of the files: one of them alone could take longer than the others
    wait for it. Folders without a marker are leftovers and are passed over; rank 0's `tell` hears of complete ones that are
    damaged.

    Raises:
        ConfigError: it was made with another layout.
    """
    for step in from_first_rank(_complete_steps(root)[::-1]):
        folder = place(root, step)
        fault, marker = from_first_rank(_read(folder) if ranks.is_first else ("", None))
        if marker is not None:
            fault = _fault_of_content(folder, marker, ranks)
        if marker is None or fault:
            if ranks.is_first:
                tell(f"the checkpoint {folder} is damaged ({fault}) and passed over.")
            continue
        if marker.layout != layout:
            raise ConfigError(_other_layout(folder, marker.layout, layout))
        return marker
    return None


def _read(folder: Path) -> tuple[str, Marker | None]:
    """What is wrong with a checkpoint's marker or the sizes of its files, or the marker where nothing is."""
    try:
        marker = read_json(folder / MARKER, Marker)
        for name, entry in marker.files.items():
            if (folder / name).stat().st_size != entry.bytes:
                return f"{name} has not {entry.bytes} bytes", None
    except OSError as error:
        return str(error), None
    return "", marker


def _fault_of_content(folder: Path, marker: Marker, ranks: Ranks) -> str:
    """What is wrong with the content of any file, the same on all ranks; empty: nothing. Ranks share the work."""
    largest_first = sorted(marker.files, key=lambda name: (-marker.files[name].bytes, name))
    mine = {name: marker.files[name] for name in largest_first[ranks.rank :: ranks.size]}
    return next(filter(None, gather_over_ranks(_first_fault(folder, mine))), "")


def _first_fault(folder: Path, files: dict[str, FileEntry]) -> str:
    try:
        others = (name for name, entry in files.items() if hash_file(folder / name) != entry.sha256)
        return next((f"{name} has other content than was written" for name in others), "")
    except OSError as error:
        return str(error)


def _other_layout(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> str:
    differing = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    pairs = ", ".join(f"{name} {found.get(name)} there and {wanted.get(name)} here" for name in differing)
    return (
        f"{folder.parent} holds a checkpoint of this training that was made otherwise ({pairs}): go on as it was made, or "
        "delete that folder to start again."
    )


def _steps(root: Path) -> list[int]:
    """Steps of all checkpoint folders, complete or not, oldest first."""
    names = (path.name.removeprefix(_STEP) for path in root.glob(f"{_STEP}*"))
    return sorted(int(name) for name in names if name.isdecimal())


def _complete_steps(root: Path) -> list[int]:
    """Steps of the checkpoint folders with a marker, oldest first."""
    return [step for step in _steps(root) if (place(root, step) / MARKER).is_file()]


def _remove(folder: Path) -> None:
    """Remove a checkpoint, marker first so that a kill in between leaves it incomplete."""
    (folder / MARKER).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
