"""Several machines that make the same artefacts together, over the store that they share.

The same command runs on each. Machine 0 decides: it makes what one process makes, and announces every start of ranks with a
file in the store. The others wait for artefacts, and join the starts.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcritical.errors import ConfigError
from medcritical.records import Record
from medcritical.store import read_json, write_json

POLL_SECONDS = 0.5
_START, _ANNOUNCED, _ENDED = "start-", "announced.json", "ended.json"


class Announcement(Record, frozen=True):
    """Where the ranks of a start meet. Its presence means that the start's folder holds all that they need."""

    host: str
    port: int


class Ending(Record, frozen=True):
    """A start that made no artefact: why, and the exit code if machine 0 has given up."""

    message: str
    exit_code: int | None


def new_start(unfinished: Path) -> Path:
    """An empty folder for the next start, after all that there are."""
    folder = unfinished / f"{_START}{max(_numbers(unfinished), default=-1) + 1:04}"
    folder.mkdir(parents=True)
    return folder


def forget_starts(unfinished: Path) -> None:
    """Remove what earlier commands have left; their ranks are gone, for the artefact's lock is free.

    The last one stays, so that no number is used twice, and nobody joins it.
    """
    *earlier, last = [-1, *_numbers(unfinished)]
    for number in earlier[1:]:
        shutil.rmtree(unfinished / f"{_START}{number:04}", ignore_errors=True)
    if last >= 0:
        end(unfinished / f"{_START}{last:04}", Ending("its command ended", None))


def announce(start: Path, meeting: Announcement) -> None:
    """Let the other machines join."""
    write_json(start / _ANNOUNCED, meeting)


def end(start: Path, ending: Ending) -> None:
    """Tell the other machines that this start is over."""
    write_json(start / _ENDED, ending)


def open_starts(unfinished: Path, after: int) -> Iterator[tuple[int, Path, Announcement]]:
    """Starts that can be joined: announced, not over, with a number above `after`."""
    for number in _numbers(unfinished):
        start = unfinished / f"{_START}{number:04}"
        if number > after and (start / _ANNOUNCED).is_file() and not (start / _ENDED).is_file():
            yield number, start, read_json(start / _ANNOUNCED, Announcement)


def final_ending(unfinished: Path, after: int) -> Ending | None:
    """Why machine 0 has given up, if it has at a start with a number above `after`."""
    for number in _numbers(unfinished):
        path = unfinished / f"{_START}{number:04}" / _ENDED
        if number > after and path.is_file():
            ending = read_json(path, Ending)
            if ending.exit_code is not None:
                return ending
    return None


def last_ended(unfinished: Path) -> int:
    """The number of the last start that is over; -1 for none."""
    numbers = _numbers(unfinished)
    return max((n for n in numbers if (unfinished / f"{_START}{n:04}" / _ENDED).is_file()), default=-1)


@contextmanager
def answering(root: Path) -> Iterator[None]:
    """Within it machine 0 answers the probes of the others, which so know that they see the same store."""
    folder, over = probes(root), threading.Event()

    def answer() -> None:
        while not over.wait(POLL_SECONDS):
            for probe in folder.glob("*.probe"):
                shutil.copyfile(probe, probe.with_suffix(".answer"))

    folder.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def check_shared(root: Path, node_rank: int, endpoint: str, timeout_seconds: float) -> None:
    """Put a probe into the store and wait for machine 0 to answer it. Raises ConfigError when it does not."""
    folder, token = probes(root), secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f"node-{node_rank}.probe"
    probe.write_text(token, encoding="utf-8")
    answer, deadline = probe.with_suffix(".answer"), time.monotonic() + timeout_seconds
    while not answer.is_file() or answer.read_text(encoding="utf-8") != token:
        if time.monotonic() > deadline:
            raise ConfigError(
                f"machine 0 ({endpoint}) did not answer within cluster.timeout_seconds={timeout_seconds:g} through "
                f"paths.store={root}: start the same command there, and give all machines the same shared folder."
            )
        time.sleep(POLL_SECONDS)


def probes(root: Path) -> Path:
    """Where machines show each other that they see the same store."""
    return root / ".nodes"


def _numbers(unfinished: Path) -> list[int]:
    return sorted(int(path.name.removeprefix(_START)) for path in unfinished.glob(f"{_START}*"))
