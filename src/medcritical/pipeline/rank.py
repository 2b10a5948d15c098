"""One rank of a stage that several make together. torchrun or srun starts it; it does what `worker` does, beside the others.

    torchrun ... -m medcritical.pipeline.rank FOLDER

The folder holds `work.json`; every rank leaves its pid there when it starts, touches that file while it lives, and says
why when it fails. Rank 0 completes the artefact and tells its parent what happens, through the pipe that MEDCRITICAL_EVENTS
names.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from medcritical.config import stages as slices
from medcritical.config.choices import StrategyKind
from medcritical.config.schema import TrainerConfig
from medcritical.errors import ConfigError
from medcritical.pipeline.guard import give_signs
from medcritical.pipeline.nodes import failure_path, pid_path
from medcritical.pipeline.worker import CallFile, Event, Reporter, complete_call, describe_failure, run_stage
from medcritical.records import Record
from medcritical.stages.context import Output
from medcritical.store import Store, read_json, write_json

WORK = "work.json"

TIMED_OUT = ("Timed out", "timed out", "timeout", "monitoredBarrier")
LOST_PEER = (
    "Connection closed by peer",
    "Connection reset by peer",
    "gloo",
    "Gloo",
    "NCCL",
    "TCPStore",
    "DistStore",
    "DistNetwork",
    "monitoredBarrier",
)
"""What a rank says whose only fault is that another one went away, or did not answer."""


class RankWork(Record, frozen=True, kw_only=True):
    """All that the ranks of one start need to know. `deadline` is in seconds since the epoch."""

    store: str
    trainer: dict[str, Any]
    call: CallFile
    strategy: str
    world_size: int
    timeout_seconds: float
    deadline: float | None
    commit: str | None = None


class RankFailure(Record, frozen=True, kw_only=True):
    """Why a rank ended. `lost_peer`: because of another one, which went away or, `timed_out`, did not answer.

    `time` is in seconds since the epoch.
    """

    rank: int
    time: float
    lost_peer: bool
    timed_out: bool
    event: Event


def main(folder: Path) -> int:
    """Make the artefact together with the other ranks; the exit status."""
    rank, work = int(os.environ["RANK"]), read_json(folder / WORK, RankWork)
    pid_file = pid_path(folder, rank)
    pid_file.write_text(str(os.getpid()), encoding="utf-8")
    give_signs(pid_file, work.timeout_seconds)
    reporter = Reporter(os.open(os.environ["MEDCRITICAL_EVENTS"], os.O_WRONLY)) if rank == 0 else None
    try:
        _check_count(work)
        _run(work, reporter)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        event = describe_failure(work.call.ref.key, error)
        lost_peer = event.exit_code == 1 and any(words in event.message for words in LOST_PEER)
        timed_out = lost_peer and any(words in event.message for words in TIMED_OUT)
        failure = RankFailure(rank=rank, time=time.time(), lost_peer=lost_peer, timed_out=timed_out, event=event)
        write_json(failure_path(folder, rank), failure)
        print(event.traceback, file=sys.stderr)
        return event.exit_code
    pid_file.unlink(missing_ok=True)  # with the artefact, its start's folder goes
    return 0


def _check_count(work: RankWork) -> None:
    """Hold what the launcher has started against what was ordered. Raises ConfigError, before anything is loaded."""
    started = int(os.environ["WORLD_SIZE"])
    if started != work.world_size:
        raise ConfigError(
            f"{started} ranks were started, but machine 0 counts on {work.world_size}: give all machines the same "
            "cluster.nnodes and cluster.nproc_per_node."
        )


def _run(work: RankWork, reporter: Reporter | None) -> None:
    call, store, start = work.call, Store(Path(work.store)), time.monotonic()
    output = Output(
        store.folder(call.ref),
        msgspec.convert(work.trainer, TrainerConfig),
        lambda *progress: None,
        checkpoints=store.unfinished(call.ref),
        deadline=work.deadline,
        strategy=StrategyKind(work.strategy),
        timeout_seconds=work.timeout_seconds,
        is_one_rank=True,
        tell=lambda message: None,
        keep=lambda release: None,  # this process ends with the artefact; a stop is its supervisor's to obey
    )
    if reporter is not None:
        output.progress = lambda *progress: reporter.progress(call.ref.key, *progress)
        output.tell = lambda message: reporter.note(call.ref.key, message)
    run_stage(call, store, output)
    if reporter is not None:
        complete_call(call, store, output, start, reporter, work.commit)


if __name__ == "__main__":
    assert slices  # registers the slices
    status = main(Path(sys.argv[1]))
    if status:  # at once: threads of a lost connection could keep the interpreter waiting for their end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
