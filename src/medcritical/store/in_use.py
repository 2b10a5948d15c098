"""Runs say in the store what they need, so that nothing of it is removed under them."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from medcritical.errors import ArtefactError
from medcritical.store.jsonl import read_json, readable_write_errors, write_json
from medcritical.store.locks import hold, is_held

UPKEEP = ".upkeep.lock"
_USERS = ".users"


@contextmanager
def in_use(root: Path, names: Iterable[str]) -> Iterator[None]:
    """While the block lasts, upkeep removes no artefact of these names ("<stage>/<16 digits>").

    The list counts while its lock is held: a run that was killed needs nothing.
    """
    user = root / _USERS / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.json"
    lock = FileLock(user.with_suffix(".lock"))
    with hold(root / UPKEEP), readable_write_errors(user):
        user.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        write_json(user, sorted(names))
    try:
        yield
    finally:
        user.unlink(missing_ok=True)
        lock.release()
        user.with_suffix(".lock").unlink(missing_ok=True)


@contextmanager
def upkeep(root: Path) -> Iterator[None]:
    """No run begins in the store while the block lasts."""
    with hold(root / UPKEEP):
        yield


def used_names(root: Path) -> set[str]:
    """Names of the artefacts that running commands need."""
    users = [path for path in (root / _USERS).glob("*.json") if is_held(path.with_suffix(".lock"))]
    names = set[str]()
    for user in users:
        try:
            names.update(read_json(user, list[str]))
        except ArtefactError:
            if user.exists():  # else its run has just ended
                raise
    return names


def forget_users(root: Path) -> None:
    """Remove what killed commands left in the list of users. Call it within `upkeep`, so that none is just being entered."""
    for path in (root / _USERS).glob("*"):
        if not is_held(path.with_suffix(".lock")):
            with suppress(PermissionError):  # another user's, who removes it in the same way
                path.unlink(missing_ok=True)
