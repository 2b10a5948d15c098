"""Executors: they take stage calls that are not done yet and have them made by worker processes.

The process that runs this code plans, starts, watches and reports; it never imports torch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from medcritical.config.load import to_plain
from medcritical.config.schema import Config, TrainerConfig
from medcritical.errors import MedCriticalError, TrainingStopped
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.source_tree import source_commit
from medcritical.pipeline.watch import Watcher
from medcritical.pipeline.worker import CallFile, Event, WorkFile
from medcritical.store.jsonl import readable_write_errors, write_json


class StageFailed(MedCriticalError):
    """A stage ended with an error; carries the exit code the program ends with, and the stage where it is known."""

    def __init__(self, message: str, exit_code: int, stage: str = "") -> None:
        super().__init__(message)
        self.exit_code, self.stage = exit_code, stage


class Executor(Protocol):
    """Runs stage calls in order. `torchrun` and `slurm` take the same calls with more ranks."""

    def execute(self, calls: Sequence[StageCall], watcher: Watcher) -> None:
        """Make all artefacts; raise StageFailed for the first that cannot be made, KeyboardInterrupt on Ctrl-C."""
        ...


class LocalExecutor:
    """Worker processes on this machine: one for all calls, or with `cluster.isolate` one for each."""

    def __init__(self, store: Path, folder: Path, config: Config) -> None:
        self.store, self.folder, self.trainer, self.cluster = store.resolve(), folder, config.trainer, config.cluster
        self.deadline = deadline_of(config.trainer)

    def execute(self, calls: Sequence[StageCall], watcher: Watcher) -> None:
        """See `Executor`."""
        for batch in [[call] for call in calls] if self.cluster.isolate else [list(calls)]:
            self._run_worker(batch, watcher)

    def _run_worker(self, calls: list[StageCall], watcher: Watcher) -> None:
        work_path, log_path = self.folder / "work.json", self.folder / "worker.log"
        write_work(work_path, self.store, self.trainer, self.deadline, calls)
        with readable_write_errors(log_path):
            log = log_path.open("ab")
        workers = starting(work_path, log, stdin=subprocess.DEVNULL, stop_seconds=self.cluster.stop_seconds)
        with log, workers as start:
            process, events = start()
            failure = follow(events, watcher)
            exit_code = process.wait()
        if failure is not None:
            raise stage_failed(next(call for call in calls if call.ref.key == failure.key), failure, log_path)
        if exit_code != 0:
            raise StageFailed(f"the worker died ({describe_death(exit_code)}); its output is in {log_path}.", 1)


def deadline_of(trainer: TrainerConfig) -> float | None:
    """When a run that starts now must have stopped: seconds since the epoch; None: never."""
    return None if trainer.time_limit is None else time.time() + trainer.time_limit


def write_work(
    path: Path, store: Path, trainer: TrainerConfig, deadline: float | None, calls: Sequence[StageCall]
) -> None:
    """Write what a worker needs to know, with the calls that it makes before it reads others from its standard input."""
    work = WorkFile(
        store=str(store),
        trainer=to_plain(trainer),
        calls=[call_file(call) for call in calls],
        deadline=deadline,
        commit=source_commit(),
    )
    write_json(path, work)


def call_file(call: StageCall) -> CallFile:
    """A call as a worker reads it."""
    return CallFile(ref=call.ref, config=to_plain(call.config), identity=call.identity, inputs=call.inputs)


def stage_failed(call: StageCall, failure: Event, log_path: Path) -> StageFailed:
    """The error for a call that a worker could not make, from the worker's own words."""
    how = "stopped" if failure.exit_code == TrainingStopped.exit_code else "failed"
    message = f"{call.ref.stage} ({call.label}) {how}: {failure.message}"
    if failure.exit_code == 1:
        message += f"\nThis is a defect of the program, not of your input; the traceback is in {log_path}."
    failed = StageFailed(message, failure.exit_code, call.ref.stage)
    failed.add_note(failure.traceback)  # shown where this one's own traceback is, with MEDCRITICAL_DEBUG=1
    return failed


StartedWorker = tuple[subprocess.Popen[bytes], BinaryIO]
"""A running worker and its event stream."""


@contextmanager
def starting(
    work_path: Path, log: BinaryIO, *, stdin: int, stop_seconds: float
) -> Iterator[Callable[[], StartedWorker]]:
    """What starts a worker, any number of times. On any error, Ctrl-C included, all that still run are stopped first.

    They have `stop_seconds` to end their step and save, all at the same time.
    """
    processes = list[subprocess.Popen[bytes]]()
    with ExitStack() as streams:

        def start() -> StartedWorker:
            process, events = _start(work_path, log, stdin)
            processes.append(process)
            return process, streams.enter_context(events)

        try:
            yield start
        finally:
            _stop(processes, stop_seconds)


def _start(work_path: Path, log: BinaryIO, stdin: int) -> StartedWorker:
    read_end, write_end = os.pipe()
    events = os.fdopen(read_end, "rb")
    environment = {
        **os.environ,
        "MEDCRITICAL_EVENTS": str(write_end),
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "medcritical.pipeline.worker", str(work_path)],
            stdin=stdin,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=[write_end],
            start_new_session=True,  # Ctrl-C reaches the parent alone, which stops the worker in good order
        )
    except BaseException:
        events.close()
        raise
    finally:
        os.close(write_end)
    return process, events


def _stop(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Interrupt the workers that still run and wait so long for all of them to clear up; kill the session of who does not.

    All are told before one is waited for: a scheduler that ends a job gives it one span, not one for each worker.
    """
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    until = time.monotonic() + seconds
    for process in running:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def follow(events: BinaryIO, watcher: Watcher) -> Event | None:
    """Show events until the worker closes its end; the failure, if there was one."""
    failure = None
    for line in events:
        event = msgspec.json.decode(line, type=Event)
        if event.kind == "failed":
            failure = event
        watcher.see(event)
    return failure


def describe_death(exit_code: int) -> str:
    """How a process ended that could not say it itself."""
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"{name}; the kernel kills processes that use too much memory" if name == "SIGKILL" else name
    return f"exit status {exit_code}"
