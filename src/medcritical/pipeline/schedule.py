"""Stage calls side by side: which may begin, and the worker processes that make them.

What a call makes depends on its configuration and inputs alone, so the artefacts are the same for any number of workers. An arm
that is matched to another one's seconds follows the clock, and is refused where more than one worker may run.
"""

from __future__ import annotations

import os
import selectors
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from medcritical.config.schema import ClusterConfig, Config, TrainerConfig
from medcritical.pipeline.execute import (
    StageFailed,
    StartedWorker,
    call_file,
    deadline_of,
    describe_death,
    stage_failed,
    starting,
    write_work,
)
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.watch import Watcher
from medcritical.pipeline.worker import Event
from medcritical.store.jsonl import readable_write_errors

MOST_WORKERS = 4
"""A worker holds libraries and a model of its own, about 0.7 GB with the tiny student."""


def num_workers(cluster: ClusterConfig, trainer: TrainerConfig) -> int:
    """Workers to start: as configured; by default as many as the cores have room for, where `trainer.threads` is given.

    Without it one worker takes all cores, so that there is one.
    """
    if cluster.workers is not None:
        return cluster.workers
    if trainer.threads is None or cluster.isolate:
        return 1
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // trainer.threads))


class Schedule:
    """Calls that wait, are being made, or are done. Calls whose inputs are not among `calls` find them in the store."""

    def __init__(self, calls: Sequence[StageCall]) -> None:
        self._waiting = {call.ref.key: call for call in calls}
        self._done: set[str] = set()
        self._chain = _longest_chains(calls)
        self._made_here = set(self._waiting)

    def take(self) -> StageCall | None:
        """The ready call with the longest chain of calls behind it, the first in the plan of equals; None: none is ready."""
        ready = [key for key, call in self._waiting.items() if self._inputs(call) <= self._done]
        return self._waiting.pop(max(ready, key=self._chain.__getitem__)) if ready else None

    def finish(self, key: str) -> None:
        """A call is done: those that read it may begin."""
        self._done.add(key)

    def _inputs(self, call: StageCall) -> set[str]:
        return {ref.key for ref in call.inputs.values()} & self._made_here


def _longest_chains(calls: Sequence[StageCall]) -> dict[str, int]:
    """Calls on the longest way from each call to the end, itself included. Inputs come before their readers."""
    chains = {call.ref.key: 1 for call in calls}
    for call in reversed(calls):
        for ref in call.inputs.values():
            if ref.key in chains:
                chains[ref.key] = max(chains[ref.key], chains[call.ref.key] + 1)
    return chains


class ParallelExecutor:
    """Several worker processes on this machine. Each makes one call after another, whichever is ready."""

    def __init__(self, store: Path, folder: Path, config: Config, *, workers: int) -> None:
        self.store, self.folder, self.config, self.workers = store.resolve(), folder, config, workers

    def execute(self, calls: Sequence[StageCall], watcher: Watcher) -> None:
        """See `Executor`. When a call fails, the others that are being made are interrupted, all at once."""
        schedule, idle, busy = Schedule(calls), list[_Worker](), list[_Worker]()
        work_path, log_path = self.folder / "work.json", self.folder / "worker.log"
        write_work(work_path, self.store, self.config.trainer, deadline_of(self.config.trainer), [])
        stop_seconds = self.config.cluster.stop_seconds
        with (
            readable_write_errors(log_path),
            log_path.open("ab") as log,
            starting(work_path, log, stdin=subprocess.PIPE, stop_seconds=stop_seconds) as start,
        ):
            with selectors.DefaultSelector() as selector:
                while True:
                    while (idle or len(busy) < self.workers) and (call := schedule.take()) is not None:
                        worker = idle.pop() if idle else _register(selector, start())
                        worker.give(call)
                        busy.append(worker)
                    if not busy:
                        break
                    for key, _ in selector.select():
                        if _listen(key.data, schedule, watcher, log_path):
                            busy.remove(key.data)
                            idle.append(key.data)
            for worker in idle:
                worker.dismiss()


@dataclass
class _Worker:
    """A worker process, what it is making, and what it has said of a line that is not at its end."""

    process: subprocess.Popen[bytes]
    events: BinaryIO
    call: StageCall | None = None
    begun: bytes = b""

    def give(self, call: StageCall) -> None:
        """Have it make a call. One that has died is noticed when it is listened to."""
        self.call = call
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(msgspec.json.encode(call_file(call)) + b"\n")
            self.process.stdin.flush()

    def hear(self) -> list[Event] | None:
        """What it has said since, at least a byte of which is there; None when it has gone."""
        said = os.read(self.events.fileno(), 1 << 16)
        *lines, self.begun = (self.begun + said).split(b"\n")
        return [msgspec.json.decode(line, type=Event) for line in lines] if said else None

    def dismiss(self) -> None:
        """Let it end: there is nothing more to make."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _register(selector: selectors.BaseSelector, started: StartedWorker) -> _Worker:
    worker = _Worker(*started)
    selector.register(worker.events, selectors.EVENT_READ, worker)
    return worker


def _listen(worker: _Worker, schedule: Schedule, watcher: Watcher, log_path: Path) -> bool:
    """Show what a worker says; True when its call is done. Raises StageFailed when it cannot be made."""
    call, events = worker.call, worker.hear()
    assert call is not None
    if events is None:
        death = describe_death(worker.process.wait())
        raise StageFailed(f"the worker died ({death}); its output is in {log_path}.", 1)
    for event in events:
        watcher.see(event)
        if event.kind == "failed":
            worker.process.wait()
            raise stage_failed(call, event, log_path)
        if event.kind in ("done", "shared"):
            schedule.finish(call.ref.key)
            return True
    return False
