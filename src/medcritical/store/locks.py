"""File locks between processes. The kernel frees the lock of a process that dies, so none is ever stale."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from medcritical.store.jsonl import readable_write_errors


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing; wait for as long as another process holds it."""
    with readable_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """True while some process (or another thread of this one) holds the lock. Needs no right to write."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
