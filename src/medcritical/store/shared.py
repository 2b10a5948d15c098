"""Folders that exist while somebody uses them: made by the first, used by all, removed by the last.

Every user holds the lock of a file of its own, which the kernel frees when the user dies. What nobody uses any more after a
crash is removed when the next one begins.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
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
    for lock_path in sorted(above.glob(f".{kind}-*.lock")):
        lock = FileLock(lock_path)
        with readable_write_errors(lock_path):
            try:
                lock.acquire(blocking=False)
            except Timeout:  # it is being made or removed
                continue
            try:
                freed += _remove_if_unused(above / lock_path.name.removeprefix(".").removesuffix(".lock"))
            finally:
                lock.release()
    return freed


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below a folder; files that go away meanwhile have none."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if not path.is_dir() else 0
    return total


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


def _remove_if_unused(folder: Path) -> int:
    """Hold the folder's lock. Bytes that were freed."""
    users = list(folder.parent.glob(f".{folder.name}.*.user"))
    if any(is_held(user) for user in users):
        return 0
    freed = 0
    for place in (folder, _unfinished(folder)):
        if place.is_dir():
            freed += folder_bytes(place)
            shutil.rmtree(place)
    for user in users:
        user.unlink(missing_ok=True)
    return freed


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.unfinished")
