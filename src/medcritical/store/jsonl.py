"""Reading and writing records: JSON Lines, UTF-8, whole file or nothing."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from medcritical.errors import ArtefactError, MedCriticalError

T = TypeVar("T")

_REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: "the disk is full; free space, or set paths.store (MEDCRITICAL_STORE) to another disk",
    errno.EDQUOT: "the disk quota is used up; free space, or set paths.store (MEDCRITICAL_STORE) elsewhere",
    errno.EROFS: "the file system is read-only; set paths.store (MEDCRITICAL_STORE) and paths.outputs elsewhere",
    errno.EACCES: "no permission to write there; set paths.store (MEDCRITICAL_STORE) and paths.outputs elsewhere",
    errno.EPERM: "not permitted there; set paths.store (MEDCRITICAL_STORE) and paths.outputs elsewhere",
    errno.ENOTDIR: "a part of the path is a file, not a folder; set paths.store and paths.outputs elsewhere",
    errno.EEXIST: "a file lies where a folder is needed; set paths.store and paths.outputs elsewhere",
    errno.ENAMETOOLONG: "the name is too long for the file system; shorten name, paths.store or paths.outputs",
}


@contextmanager
def readable_write_errors(path: Path) -> Iterator[None]:
    """Turn an error that a user can mend (full disk, read-only folder) into an ArtefactError that says how."""
    try:
        yield
    except MedCriticalError:  # says so already; one of them is an OSError itself
        raise
    except Exception as error:
        remedy = _REMEDIES.get(_error_number(error))
        if remedy is None:
            raise
        raise ArtefactError(f"cannot write {getattr(error, 'filename', None) or path}: {remedy}.") from error


def _error_number(error: Exception) -> int | None:
    """The errno of an OSError, or the one that an error of a Rust library names.

    safetensors raises its own kind and tokenizers a plain Exception; both end in Rust's words, "(os error 28)".
    """
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told.group(1)) if told else None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file by rename, so that a reader or a kill never meets half of it."""
    with readable_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented for people."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def read_json(path: Path, kind: type[T]) -> T:
    """The JSON value of a file, checked against `kind`. Raises ArtefactError naming the file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ArtefactError(f"cannot read {path}: {error}") from error


def write_records(path: Path, records: Iterable[Any]) -> int:
    """Write one JSON object per line; return how many."""
    lines = [msgspec.json.encode(record) for record in records]
    write_atomically(path, b"".join(line + b"\n" for line in lines))
    return len(lines)


def append_record(path: Path, record: Any) -> None:
    """Add one JSON object to a file as a line of its own. One process at a time: hold a lock."""
    with readable_write_errors(path), path.open("ab") as file:
        file.write(msgspec.json.encode(record) + b"\n")


def read_records(path: Path, kind: type[T]) -> list[T]:
    """All records of a file in order. Raises ArtefactError naming file and line."""
    decoder = msgspec.json.Decoder(kind)
    records = []
    try:
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                records.append(decoder.decode(line))
            except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
                raise ArtefactError(f"{path}:{number}: {error}") from error
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is missing from its artefact") from error
    except ArtefactError:  # is an OSError itself
        raise
    except OSError as error:
        raise ArtefactError(f"cannot read {path}: {error}") from error
    return records
