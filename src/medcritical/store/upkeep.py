"""What lies in a store, whether it is sound, and removing what nobody names. Reads manifests of every version."""

from __future__ import annotations

import datetime
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout

from medcritical.errors import ArtefactError
from medcritical.store.artefact import KEY_DIGITS, MANIFEST, SCHEMA, ArtefactRef, FileEntry, beside
from medcritical.store.hashing import hash_file
from medcritical.store.jsonl import readable_write_errors
from medcritical.store.locks import is_held
from medcritical.store.shared import entries_below

State = Literal["complete", "older", "newer", "damaged", "unfinished"]
SECONDS_PER_DAY = 86_400


class _Outline(msgspec.Struct):
    """What manifests of all versions have; other fields are left aside."""

    schema: int
    ref: ArtefactRef
    inputs: dict[str, ArtefactRef]
    files: dict[str, FileEntry]


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """An artefact's folder as it was found.

    Attributes:
        name: "<stage>/<first 16 digits of its key>".
        state: "older" and "newer" have a manifest of another version, "damaged" one that cannot be read, "unfinished" none.
        bytes: of its files, state of an unfinished training included. Files that are linked twice count once in a survey.
        seconds: since the Epoch, when it was last written to.
        is_locked: a process makes it now.
        inputs: names of the artefacts that it was made from.
    """

    name: str
    folder: Path
    state: State
    bytes: int
    seconds: float
    is_locked: bool
    inputs: tuple[str, ...] = ()
    files: dict[str, FileEntry] = {}

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return self.name.partition("/")[0]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not what its artefact's manifest says."""

    artefact: str
    file: str
    fault: str


def survey(root: Path) -> list[Artefact]:
    """All artefacts of a store by name, those of older versions, damaged and unfinished ones included.

    Raises:
        ArtefactError: there is no such folder, or it cannot be read.
    """
    if not root.is_dir():
        raise ArtefactError(f"there is no store at {root}: give its folder with --store, or set MEDCRITICAL_STORE.")
    seen = set[tuple[int, int]]()
    try:
        return [_look_at(stage / name, seen) for stage in _folders(root) for name in _keys(stage)]
    except OSError as error:
        raise ArtefactError(f"cannot read the store {root}: {error.strerror} ({error.filename}).") from error


def verify(artefact: Artefact) -> Iterator[Fault]:
    """What of a finished artefact is not as its manifest says: missing, of another size or content, or too much."""
    if artefact.state == "damaged":
        yield Fault(artefact=artefact.name, file=MANIFEST, fault="cannot be read")
    if artefact.state not in ("complete", "older", "newer"):
        return
    there = {str(path.relative_to(artefact.folder)) for path in artefact.folder.rglob("*") if path.is_file()}
    for file in sorted(there - {MANIFEST} - set(artefact.files)):
        yield Fault(artefact=artefact.name, file=file, fault="is not in the manifest")
    for file, entry in artefact.files.items():
        if fault := _fault_of(artefact.folder / file, entry):
            yield Fault(artefact=artefact.name, file=file, fault=fault)


def unneeded(artefacts: Collection[Artefact], named: Iterable[str], older_than: float, now: float) -> list[Artefact]:
    """Artefacts that may be removed: those last written to `older_than` days before `now`, or earlier, and needed by nobody.

    Needed is what is named or being made, what is younger, and what any of these was made from.
    """
    by_name = {artefact.name: artefact for artefact in artefacts}
    limit = now - older_than * SECONDS_PER_DAY
    waiting = [*named, *(one.name for one in artefacts if one.is_locked or (older_than and one.seconds > limit))]
    needed = set[str]()
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += by_name[name].inputs if name in by_name else ()
    return [artefact for artefact in artefacts if artefact.name not in needed]


def remove(artefact: Artefact) -> bool:
    """Remove an artefact and what lies beside it, manifest first; False where a process makes it meanwhile.

    Raises:
        ArtefactError: the disk is read-only, or the folder is somebody else's.
    """
    lock = FileLock(beside(artefact.folder, "lock"))
    with readable_write_errors(artefact.folder):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        try:
            (artefact.folder / MANIFEST).unlink(missing_ok=True)
            for folder in (artefact.folder, beside(artefact.folder, "unfinished")):
                if folder.exists():
                    shutil.rmtree(folder)
            beside(artefact.folder, "executions.jsonl").unlink(missing_ok=True)
        finally:
            lock.release()
    return True


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _keys(stage: Path) -> list[str]:
    """Names of artefact folders, and of those of which only the state of an unfinished training is left."""
    names = {path.name.removeprefix(".").removesuffix(".unfinished") for path in stage.iterdir() if path.is_dir()}
    return sorted(name for name in names if len(name) == KEY_DIGITS and not set(name) - set("0123456789abcdef"))


def _look_at(folder: Path, seen: set[tuple[int, int]]) -> Artefact:
    size, seconds = 0, 0.0
    for place in (folder, beside(folder, "unfinished")):
        for found in entries_below(place):
            seconds = max(seconds, found.st_mtime)
            if stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
                size += found.st_size
                if found.st_nlink > 1:
                    seen.add((found.st_dev, found.st_ino))
    outline, state = _read(folder)
    return Artefact(
        name=f"{folder.parent.name}/{folder.name}",
        folder=folder,
        state=state,
        bytes=size,
        seconds=seconds,
        is_locked=is_held(beside(folder, "lock")),
        inputs=tuple(map(str, outline.inputs.values())) if outline else (),
        files=outline.files if outline else {},
    )


def _read(folder: Path) -> tuple[_Outline | None, State]:
    try:
        outline = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Outline)
    except FileNotFoundError:
        return None, "unfinished"
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None, "damaged"
    if str(outline.ref) != f"{folder.parent.name}/{folder.name}":
        return None, "damaged"
    if outline.schema == SCHEMA:
        return outline, "complete"
    return outline, "older" if outline.schema < SCHEMA else "newer"


def _fault_of(path: Path, entry: FileEntry) -> str:
    try:
        if path.stat().st_size != entry.bytes:
            return f"has {path.stat().st_size} bytes, not {entry.bytes}"
        return "" if hash_file(path) == entry.sha256 else "has another content (SHA-256)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def date_of(artefact: Artefact) -> str:
    """The day that an artefact was last written to, in this machine's time."""
    return datetime.datetime.fromtimestamp(artefact.seconds).strftime("%Y-%m-%d")
