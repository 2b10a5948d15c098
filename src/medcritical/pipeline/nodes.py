"""The starts of a stage's ranks, as folders in the store that all machines share.

The same command runs on each machine. Machine 0 decides: it makes what one process makes, and announces every start of ranks
with a file. The others wait for artefacts, and join the starts. What ranks and machines say about a start lies in its folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from medcritical.config.schema import ClusterConfig
from medcritical.records import Record
from medcritical.store import read_json, write_json

POLL_SECONDS = 0.5
_START, _ANNOUNCED, _ENDED = "start-", "announced.json", "ended.json"
_FAILED = "failed"  # a folder of its own, to be listed often: it has no entries while all goes well


class Announcement(Record, frozen=True):
    """Where the ranks of a start meet. Its presence means that the start's folder holds all that they need.

    `endpoint` is the `cluster.rdzv_endpoint` of the machines that may join: other commands may share the store.
    """

    host: str
    port: int
    endpoint: str


class Ending(Record, frozen=True):
    """Why a start is over that made no artefact."""

    message: str


def pid_path(start: Path, rank: int) -> Path:
    """Holds the process id of a rank that has started; touched while it lives, removed when it ends well."""
    return start / f"rank-{rank}.pid"


def failure_path(start: Path, rank: int) -> Path:
    """Holds the `RankFailure` of a rank that has failed."""
    return start / _FAILED / f"rank-{rank}.json"


def new_start(unfinished: Path) -> Path:
    """An empty folder for the next start, after all that there are."""
    folder = unfinished / f"{_START}{max(_numbers(unfinished), default=-1) + 1:04}"
    (folder / _FAILED).mkdir(parents=True)
    return folder


def forget_starts(unfinished: Path) -> None:
    """Remove what earlier commands have left; their ranks are gone, for the artefact's lock is free.

    The last one stays, so that no number is used twice, and nobody joins it.
    """
    *earlier, last = [-1, *_numbers(unfinished)]
    for number in earlier[1:]:
        shutil.rmtree(unfinished / f"{_START}{number:04}", ignore_errors=True)
    if last >= 0:
        end(unfinished / f"{_START}{last:04}", Ending("its command ended"))


def announce(start: Path, meeting: Announcement) -> None:
    """Let the other machines join."""
    write_json(start / _ANNOUNCED, meeting)


def end(start: Path, ending: Ending) -> None:
    """Tell the other machines that this start is over."""
    write_json(start / _ENDED, ending)


def is_over(start: Path) -> bool:
    """True when machine 0 has ended the start, which made no artefact."""
    return (start / _ENDED).is_file()


def is_gone(start: Path) -> bool:
    """True when the artefact is complete: what was kept beside it is removed then."""
    return not start.is_dir()


def open_starts(unfinished: Path, endpoint: str, after: int) -> Iterator[tuple[int, Path, Announcement]]:
    """Starts that machines of this endpoint can join: announced, not over, with a number above `after`."""
    for number in _numbers(unfinished):
        start = unfinished / f"{_START}{number:04}"
        if number > after and (start / _ANNOUNCED).is_file() and not is_over(start):
            announcement = read_json(start / _ANNOUNCED, Announcement)
            if announcement.endpoint == endpoint:
                yield number, start, announcement


def join(start: Path, node_rank: int) -> None:
    """Tell machine 0 that this one is there, before its ranks are."""
    with suppress(FileNotFoundError):  # just removed: the artefact is complete
        _joined(start, node_rank).touch()


def absent_machines(start: Path, cluster: ClusterConfig) -> list[int]:
    """Machines whose command has not joined the start; none where one command starts the ranks of all."""
    others = range(1, cluster.nnodes) if cluster.rdzv_endpoint else range(0)
    return [machine for machine in others if not _joined(start, machine).is_file()]


def _joined(start: Path, node_rank: int) -> Path:
    return start / f"machine-{node_rank}.joined"


def report_loss(start: Path, node_rank: int, exit_code: int) -> None:
    """Tell machine 0 that the ranks of this one have not ended well."""
    if start.is_dir():
        write_json(_lost(start, node_rank), exit_code)


def machines_that_failed(start: Path, cluster: ClusterConfig) -> list[int]:
    """Machines that have reported a loss."""
    return [machine for machine in range(1, cluster.nnodes) if _lost(start, machine).is_file()]


def _lost(start: Path, node_rank: int) -> Path:
    return start / _FAILED / f"machine-{node_rank}.json"


def has_failures(start: Path) -> bool:
    """True when a rank or a machine has failed in this start."""
    return any(not name.startswith(".") for name in _names(start / _FAILED))


def marks_of_ranks(start: Path) -> dict[int, int]:
    """When each rank that is at work gave its last sign of life, by its machine's clock: a number to see change.

    One listing, and one opened file for each rank: not to be asked for more often than signs are given.
    """
    marks = {}
    for name in _names(start):
        if name.endswith(".pid"):
            with (
                suppress(FileNotFoundError),
                (start / name).open("rb") as file,
            ):  # network file systems ask for what is new
                marks[int(name.removeprefix("rank-").removesuffix(".pid"))] = os.fstat(file.fileno()).st_mtime_ns
    return marks


def _names(folder: Path) -> list[str]:
    """What lies in a folder of a start; nothing when it has just been removed."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _numbers(unfinished: Path) -> list[int]:
    return sorted(int(path.name.removeprefix(_START)) for path in unfinished.glob(f"{_START}*"))
