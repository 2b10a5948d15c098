"""Reading and writing records: JSON Lines, UTF-8, whole file or nothing; many of them in compressed parts."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from medcritical.errors import ArtefactError, MedCriticalError

T = TypeVar("T")
logger = logging.getLogger(__name__)

_REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: "the disk is full; free space, or set paths.store (MEDCRITICAL_STORE) to another disk",
    errno.EDQUOT: "the disk quota is used up; free space, or set paths.store (MEDCRITICAL_STORE) elsewhere",
    errno.EROFS: "the file system is read-only; set paths.store (MEDCRITICAL_STORE) and paths.outputs elsewhere",
    errno.EACCES: "no permission to write there; set paths.store (MEDCRITICAL_STORE) and paths.outputs elsewhere",
    errno.EPERM: "not permitted there; set paths.store (MEDCRITICAL_STORE) and paths.outputs elsewhere",
    errno.ENOENT: "no folder can be made there; set paths.store and paths.outputs elsewhere",
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
        # process ids are unique on one host alone, and every container has a process 1
        partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
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


def write_records(path: Path, records: Iterable[Any], per_file: int | None = None) -> int:
    """Write one JSON object per line; return how many. Equal records give equal bytes.

    More than `per_file` go to compressed parts beside `path`, each of so many, and not to `path`; readers find them by `path`
    all the same. None: never.
    """
    groups = _encoded(records, per_file)
    first, second = next(groups, []), next(groups, [])
    if not second:
        write_atomically(path, b"".join(first))
        return len(first)
    partial, number = list[Path](), 0
    for lines in chain([first, second], groups):
        partial.append(path.with_name(f"{path.stem}-{len(partial):05}.partial"))
        write_atomically(partial[-1], gzip.compress(b"".join(lines), mtime=0))
        number += len(lines)
    for index, part in enumerate(partial):
        part.replace(_part(path, index, len(partial)))
    return number


def _encoded(records: Iterable[Any], size: int | None) -> Iterator[list[bytes]]:
    """The records as lines, `size` at a time."""
    remaining = iter(records)
    while lines := [msgspec.json.encode(record) + b"\n" for record in islice(remaining, size)]:
        yield lines


def _part(path: Path, index: int, number: int) -> Path:
    return path.with_name(f"{path.stem}-{index:05}-of-{number:05}{path.suffix}.gz")


def append_record(path: Path, record: Any) -> None:
    """Add one JSON object to a file as a line of its own. One process at a time: hold a lock.

    Raises ArtefactError on a full disk or a read-only folder. It may leave a torn line, after which the next one is whole.
    """
    with readable_write_errors(path), path.open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        is_torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * is_torn + msgspec.json.encode(record) + b"\n")


def record_files(path: Path) -> list[Path]:
    """The files with the records known by `path`, in order: itself or its parts; none where there are no such records.

    Raises:
        ArtefactError: one of the parts is missing.
    """
    if path.is_file():
        return [path]
    parts = sorted(path.parent.glob(f"{path.stem}-?????-of-?????{path.suffix}.gz"))
    number = int(parts[0].name.rsplit("-of-", 1)[1][:5]) if parts else 0
    for part in (_part(path, index, number) for index in range(number)):
        if part not in parts:
            raise ArtefactError(f"{part} is missing from its artefact")
    return parts


def read_records(path: Path, kind: type[T]) -> list[T]:
    """All records known by `path` in order. Raises ArtefactError naming file and line."""
    return list(iter_records(path, kind))


def iter_records(path: Path, kind: type[T]) -> Iterator[T]:
    """As `read_records`, one after the other."""
    for file in record_files(path) or [path]:
        yield from _iter_file(file, kind)


def read_appended(path: Path, kind: type[T]) -> list[T]:
    """The records of a file made by `append_record`; none where there is no file.

    Lines that a full disk, a kill or a power loss tore are left out and counted in the log. Raises ArtefactError when the
    file cannot be read at all.
    """
    try:
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
    except OSError as error:
        raise ArtefactError(f"cannot read {path}: {error}") from error
    decoder, records, num_torn = msgspec.json.Decoder(kind), list[T](), 0
    for line in filter(None, lines):
        try:
            records.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            num_torn += 1
    if num_torn:
        logger.warning("%s: %d damaged lines are left out", path, num_torn)
    return records


def _iter_file(path: Path, kind: type[T]) -> Iterator[T]:
    decoder = msgspec.json.Decoder(kind)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    record = decoder.decode(line)
                except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
                    raise ArtefactError(f"{path}:{number}: {error}") from error
                yield record
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is missing from its artefact") from error
    except ArtefactError:  # is an OSError itself
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise ArtefactError(f"cannot read {path}: {error}") from error
