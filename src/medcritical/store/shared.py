"""Folders that exist while somebody uses them: made by the first, used by all, removed by the last.

Every user holds the lock of a file of its own, which the kernel frees when the user dies. What nobody uses any more after a
crash is removed when the next one begins.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from medcritical.store.jsonl import readable_write_errors
from medcritical.store.locks import hold, is_held

ENGINES = "engines"
"""The store's folder of journals, server logs, and models that are converted or merged."""

MERGED = "merged"
"""What shared folders of merged models are called there, before a dash."""


@contextmanager
def shared_folder(above: Path, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """The folder `above`/`name`, whole, while the block lasts.

    Args:
        name: says what is in the folder; equal names mean equal content, whoever makes it.
        make: fills an empty folder; called by one user while others wait.
    """
    folder, lock = above / name, above / f".{name}.lock"
    remove_unused(above, name.partition("-")[0])
    with hold(lock), readable_write_errors(folder):
        if not folder.is_dir():
            _make(folder, make)
        user = FileLock(above / f".{name}.{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.user")
        user.acquire()
    try:
        yield folder.absolute()
    finally:
        with hold(lock):
            user.release()
            _remove_if_unused(folder)


def remove_unused(above: Path, kind: str) -> int:
    """Remove the folders `above`/`kind`-... that no process uses; how many bytes there were in them."""
    freed = 0
    for lock_path, folder in _known(above, kind):
        lock = FileLock(lock_path)
        with readable_write_errors(lock_path):
            try:
                lock.acquire(blocking=False)
            except Timeout:  # it is being made or removed
                continue
            try:
                freed += _remove_if_unused(folder)
            finally:
                lock.release()
    return freed


def unused_folders(above: Path, kind: str) -> list[Path]:
    """The folders that `remove_unused` would remove now."""
    unused = [folder for lock, folder in _known(above, kind) if not is_held(lock) and not _is_used(folder)]
    return [place for folder in unused for place in _places(folder)]


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below a folder; files that go away meanwhile have none."""
    return sum(found.st_size for found in entries_below(folder) if not stat.S_ISDIR(found.st_mode))


def entries_below(folder: Path) -> Iterator[os.stat_result]:
    """What the disk knows of each file and folder below a folder, and of itself, without those that go away meanwhile."""
    for place, _, files in os.walk(folder):  # goes on where a folder has gone
        for path in (place, *(os.path.join(place, name) for name in files)):
            with suppress(OSError):
                yield os.lstat(path)


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    unfinished = _unfinished(folder)
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    unfinished.mkdir(parents=True)
    try:
        make(unfinished)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _known(above: Path, kind: str) -> list[tuple[Path, Path]]:
    """The lock of every folder of a kind, and that folder, which need not be there."""
    locks = sorted(above.glob(f".{kind}-*.lock"))
    return [(lock, above / lock.name.removeprefix(".").removesuffix(".lock")) for lock in locks]


def _remove_if_unused(folder: Path) -> int:
    """Hold the folder's lock. Bytes that were freed."""
    if _is_used(folder):
        return 0
    freed = 0
    for place in _places(folder):
        freed += folder_bytes(place)
        shutil.rmtree(place)
    for user in _users(folder):
        user.unlink(missing_ok=True)
    return freed


def _users(folder: Path) -> list[Path]:
    return list(folder.parent.glob(f".{folder.name}.*.user"))


def _is_used(folder: Path) -> bool:
    return any(map(is_held, _users(folder)))


def _places(folder: Path) -> list[Path]:
    return [place for place in (folder, _unfinished(folder)) if place.is_dir()]


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.unfinished")
