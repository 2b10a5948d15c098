"""File locks between processes. The kernel frees the lock of a process that dies, so none is ever stale."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from medcritical.store.jsonl import readable_write_errors

SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 5.0
"""Between two tries of one who waits."""


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing; wait for as long as another process holds it."""
    with readable_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        _acquire(lock)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock) -> None:
    """Wait for the lock, and try it the less often the longer that lasts: many nodes may wait for hours.

    A tenth of the wait so far lies between two tries, so that nobody waits more than that, or 5 seconds, for nothing.
    """
    began = time.monotonic()
    while True:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waited = time.monotonic() - began
            time.sleep(min(max(waited / 10, SHORTEST_SECONDS), LONGEST_SECONDS))
        else:
            return


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
