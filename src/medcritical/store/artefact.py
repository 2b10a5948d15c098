"""The store: artefact folders, their manifests and locks.

An artefact is complete when its `manifest.json` exists; the manifest is written last, by rename. A folder without one is
the leftover of a killed stage and is cleared when the stage runs again.
"""

from __future__ import annotations

import datetime
import logging
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from medcritical import __version__
from medcritical.errors import ArtefactError
from medcritical.records import Record
from medcritical.store.environment import Environment
from medcritical.store.hashing import hash_file, hash_json
from medcritical.store.jsonl import append_record, read_appended, read_json, readable_write_errors, write_json
from medcritical.store.locks import hold, is_held

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
SCHEMA = 2
"""Of the manifest, and part of every key: what another version of it has made is read and reported, and never used again."""


KEY_DIGITS = 16
"""Of a key, in the name of its artefact's folder."""


class ArtefactRef(Record, frozen=True, kw_only=True):
    """Names an artefact: the stage that makes it and the hash of what goes in. As text: its folder below the store."""

    stage: str
    key: str

    def __str__(self) -> str:
        return f"{self.stage}/{self.key[:KEY_DIGITS]}"


class Costs(Record, frozen=True, kw_only=True):
    """What making one artefact took, or several together.

    `teacher_tokens`, `student_tokens` and `judge_tokens` were written by that model, `..._prompt_tokens` read by it, once
    for all samples of a request. `retries` are requests that had to be sent again; `seconds` is wall time.
    """

    teacher_tokens: int = 0
    student_tokens: int = 0
    seconds: float = 0.0
    teacher_prompt_tokens: int = 0
    student_prompt_tokens: int = 0
    judge_tokens: int = 0
    judge_prompt_tokens: int = 0
    retries: int = 0

    @classmethod
    def sum(cls, costs: Iterable[Costs]) -> Costs:
        """All of them together; nothing costs nothing."""
        costs = list(costs)
        return cls(**{name: sum(getattr(cost, name) for cost in costs) for name in cls.__struct_fields__})


class FileEntry(Record, frozen=True, kw_only=True):
    """Size (bytes) and SHA-256 of one file of an artefact."""

    bytes: int
    sha256: str


class Execution(Record, frozen=True, kw_only=True):
    """One time that an artefact was made to its end: where, by which process, and how long it took (seconds)."""

    host: str
    pid: int
    seconds: float


class Manifest(Record, frozen=True, kw_only=True):
    """What an artefact is and what made it. Present means complete. Of schema 1 the environment is not known."""

    schema: int
    ref: ArtefactRef
    version: int
    config: dict[str, Any]
    inputs: dict[str, ArtefactRef]
    files: dict[str, FileEntry]
    facts: dict[str, Any]
    costs: Costs
    created: str
    medcritical: str
    environment: Environment | None = None


def beside(folder: Path, kind: str) -> Path:
    """What is about an artefact and outlives its folder: lock, unfinished, executions.jsonl."""
    return folder.with_name(f".{folder.name}.{kind}")


def artefact_key(stage: str, version: int, identity: Mapping[str, Any], inputs: Mapping[str, ArtefactRef]) -> str:
    """The key of what `stage` makes of a config slice and inputs: a SHA-256 in hex."""
    return hash_json([SCHEMA, stage, version, identity, {role: [ref.stage, ref.key] for role, ref in inputs.items()}])


class Store:
    """A folder of artefacts, `<root>/<stage>/<first 16 digits of the key>/`, shared by runs, jobs and nodes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, ref: ArtefactRef) -> Path:
        """Where the artefact is, or would be."""
        return self.root / str(ref)

    def unfinished(self, ref: ArtefactRef) -> Path:
        """Where a stage keeps what it needs to go on after a stop; outlives the artefact's folder until that is complete."""
        return beside(self.folder(ref), "unfinished")

    def is_complete(self, ref: ArtefactRef) -> bool:
        """True when the artefact's manifest is there, undamaged, and its files have the recorded sizes.

        Raises ArtefactError when it is of another artefact, or when the disk refuses to give it.
        """
        folder = self.folder(ref)
        try:
            manifest = self._belonging(ref, msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest))
            return all((folder / name).stat().st_size == entry.bytes for name, entry in manifest.files.items())
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
            return False
        except ArtefactError:  # is an OSError itself
            raise
        except OSError as error:  # what cannot be read just now may be whole: it is not made again
            raise ArtefactError(f"cannot read {folder}: {error}") from error

    def manifest(self, ref: ArtefactRef) -> Manifest:
        """The manifest of a complete artefact. Raises ArtefactError when it is missing or of another artefact."""
        return self._belonging(ref, read_json(self.folder(ref) / MANIFEST, Manifest))

    def _belonging(self, ref: ArtefactRef, manifest: Manifest) -> Manifest:
        if manifest.ref != ref:
            raise ArtefactError(f"{self.folder(ref)} holds {manifest.ref.key}, not {ref.key}: move it away")
        return manifest

    def manifests(self) -> Iterator[Manifest]:
        """The manifests of all complete artefacts, in no order that means anything.

        Those that cannot be read are left out: a damaged one, or one that is removed just now.
        """
        for path in self.root.glob(f"*/*/{MANIFEST}"):
            with suppress(ArtefactError):
                yield read_json(path, Manifest)

    @contextmanager
    def lock(self, ref: ArtefactRef) -> Iterator[None]:
        """Hold the artefact's lock: one job makes it, others wait. A killed holder frees it."""
        with hold(beside(self.folder(ref), "lock")):
            yield

    def is_locked(self, ref: ArtefactRef) -> bool:
        """True while a job holds the artefact's lock, that is, while it is being made."""
        return is_held(beside(self.folder(ref), "lock"))

    def executions(self, ref: ArtefactRef) -> int:
        """How often the artefact was made to its end in this store: 1, but for what was damaged or done twice."""
        told = read_appended(beside(self.folder(ref), "executions.jsonl"), Execution)
        # None: it was not made, made before executions were counted, or the file is damaged.
        return len(told) or int(self.is_complete(ref))

    @contextmanager
    def build(self, ref: ArtefactRef) -> Iterator[Path]:
        """An empty folder to make the artefact in; removed when making it fails. Hold the lock.

        An artefact that is complete stays, whatever is raised after that: a stop may come at any moment.
        """
        folder = self.folder(ref)
        with readable_write_errors(folder):
            self.discard(ref)
            folder.mkdir(parents=True)
            try:
                yield folder
            except BaseException:
                if not self.is_complete(ref):
                    self.discard(ref)
                raise

    def discard(self, ref: ArtefactRef) -> None:
        """Remove an artefact, manifest first so that a kill in between leaves it incomplete."""
        folder = self.folder(ref)
        (folder / MANIFEST).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)

    def complete(
        self,
        ref: ArtefactRef,
        *,
        version: int,
        config: dict[str, Any],
        inputs: dict[str, ArtefactRef],
        facts: dict[str, Any],
        costs: Costs,
        environment: Environment | None = None,
    ) -> None:
        """Write the manifest: from here on the artefact exists."""
        folder = self.folder(ref)
        files = {
            str(path.relative_to(folder)): FileEntry(bytes=path.stat().st_size, sha256=hash_file(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        manifest = Manifest(
            schema=SCHEMA,
            ref=ref,
            version=version,
            config=config,
            inputs=inputs,
            files=files,
            facts=facts,
            costs=costs,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            medcritical=__version__,
            environment=environment,
        )
        write_json(folder / MANIFEST, manifest)
        self._count(ref, costs.seconds)
        shutil.rmtree(self.unfinished(ref), ignore_errors=True)  # nobody reads it any more

    def _count(self, ref: ArtefactRef, seconds: float) -> None:
        """Note that the artefact was made. A disk that has no room for it takes nothing from what is complete already."""
        execution = Execution(host=socket.gethostname(), pid=os.getpid(), seconds=seconds)
        try:
            append_record(beside(self.folder(ref), "executions.jsonl"), execution)
        except OSError as error:
            logger.warning("%s is complete, but not counted as executed: %s", ref, error)

    def lineage(self, ref: ArtefactRef) -> dict[str, Manifest]:
        """Manifests of the artefact and everything it was made from, by key, each once.

        What it was only measured against (roles that begin with "target") is no part of it.
        """
        found: dict[str, Manifest] = {}
        waiting = [ref]
        while waiting:
            current = waiting.pop()
            if current.key not in found:
                found[current.key] = self.manifest(current)
                inputs = found[current.key].inputs
                waiting.extend(made_of for role, made_of in inputs.items() if not role.startswith("target"))
        return found

    def total_costs(self, ref: ArtefactRef) -> Costs:
        """What the artefact and all it was made from took, each artefact counted once."""
        return Costs.sum(manifest.costs for manifest in self.lineage(ref).values())
