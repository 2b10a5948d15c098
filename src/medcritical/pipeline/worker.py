"""The process that runs stages: reads its calls from a file, tells the parent what happens, imports no Hydra.

    python -m medcritical.pipeline.worker CALLS.json

Events go to the file descriptor named by MEDCRITICAL_EVENTS as JSON Lines; anything libraries print goes to the log.
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec

from medcritical.config import stages as slices
from medcritical.config.schema import TrainerConfig
from medcritical.config.stages import StageConfig
from medcritical.errors import MedCriticalError
from medcritical.records import Record
from medcritical.stages.context import Inputs, Output
from medcritical.stages.environment import environment_of
from medcritical.store import ArtefactRef, Store
from medcritical.store.jsonl import read_json

SLICES: dict[str, type[StageConfig]] = {slice.stage: slice for slice in StageConfig.__subclasses__()}


class CallFile(Record, frozen=True, kw_only=True):
    """One stage call as the worker reads it."""

    ref: ArtefactRef
    config: dict[str, Any]
    identity: dict[str, Any]
    inputs: dict[str, ArtefactRef]


class WorkFile(Record, frozen=True, kw_only=True):
    """All that a worker needs to know. `commit` is that of the source tree (`store.Environment`)."""

    store: str
    trainer: dict[str, Any]
    calls: list[CallFile]
    deadline: float | None = None
    commit: str | None = None


class Event(Record, frozen=True, kw_only=True):
    """What the worker tells its parent.

    `seconds` is set by done; `message` by note, `exit_code`, `message` and `traceback` by failed.
    """

    kind: Literal["waiting", "started", "progress", "note", "done", "shared", "failed"]
    key: str
    done: int = 0
    total: int = 0
    unit: str = ""
    seconds: float = 0.0
    exit_code: int = 0
    message: str = ""
    traceback: str = ""
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


class Interruption:
    """The parent's order to stop: SIGINT. It counts even where Python loses the KeyboardInterrupt, as in a finaliser."""

    def __init__(self) -> None:
        self._is_ordered = False

    def heed(self) -> None:
        """Take SIGINT from now on; a shell that starts the parent in the background has it ignored by all."""
        signal.signal(signal.SIGINT, self._take)

    def _take(self, number: int, frame: object) -> None:
        self._is_ordered = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if the order was given."""
        if self._is_ordered:
            raise KeyboardInterrupt


class Reporter:
    """Writes events to the parent. A parent that is gone ends the worker (BrokenPipeError).

    Args:
        check: raises where the work shall go no further; called with all progress.
    """

    def __init__(self, descriptor: int, check: Callable[[], None] = lambda: None) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._check, self._last = check, 0.0

    def tell(self, event: Event) -> None:
        """Send one event."""
        self._file.write(msgspec.json.encode(event) + b"\n")

    def progress(self, key: str, done: int, total: int, unit: str) -> None:
        """Send progress at most five times a second. Raises what `check` does."""
        self._check()
        now = time.monotonic()
        if done >= total or now - self._last >= 0.2:
            self._last = now
            self.tell(Event(kind="progress", key=key, done=done, total=total, unit=unit))

    def note(self, key: str, message: str) -> None:
        """Send a sentence for the person who watches."""
        self.tell(Event(kind="note", key=key, message=message))


def run_call(call: CallFile, store: Store, work: WorkFile, reporter: Reporter) -> None:
    """Make one artefact, unless another job has made it while this one waited for the lock.

    Raises KeyboardInterrupt after it where Ctrl-C came too late to stop its training.
    """
    ref = call.ref
    reporter.tell(Event(kind="waiting", key=ref.key))
    with store.lock(ref):
        if store.is_complete(ref):
            reporter.tell(Event(kind="shared", key=ref.key))
            return
        reporter.tell(Event(kind="started", key=ref.key))
        start = time.monotonic()
        with ExitStack() as kept, store.build(ref) as folder:
            output = Output(
                folder,
                msgspec.convert(work.trainer, TrainerConfig),
                lambda *progress: reporter.progress(ref.key, *progress),
                checkpoints=store.unfinished(ref),
                deadline=work.deadline,
                tell=lambda message: reporter.note(ref.key, message),
                keep=kept.callback,
            )
            run_stage(call, store, output)
            complete_call(call, store, output, start, reporter, work.commit)


def run_stage(call: CallFile, store: Store, output: Output) -> None:
    """Do what the call asks for, into the output's folder; nothing where its loop has stopped."""
    config, inputs = msgspec.convert(call.config, SLICES[call.ref.stage]), Inputs(store, call.inputs)
    if call.ref.stage != "gate" and inputs.have_stopped:  # a gate goes on from the best there was
        output.leave_empty()
        return
    run = importlib.import_module(f"medcritical.stages.{call.ref.stage}").run
    if output.is_one_rank and config.generates:  # a stage that trains meets the others itself
        importlib.import_module("medcritical.stages.engines").run_ranked(run, config, inputs, output)
    else:
        run(config, inputs, output)


def complete_call(
    call: CallFile, store: Store, output: Output, start: float, reporter: Reporter, commit: str | None
) -> None:
    """Write the manifest of what the stage has left in its folder, and say so. `start` is of `time.monotonic`."""
    # A training that went on from a checkpoint knows what it took before, too.
    seconds = max(time.monotonic() - start, output.facts.get("train_seconds", 0.0))
    store.complete(
        call.ref,
        version=SLICES[call.ref.stage].version,
        config=call.identity,
        inputs=call.inputs,
        facts=output.facts,
        costs=output.costs(seconds),
        environment=environment_of(output.computed, commit),
    )
    reporter.tell(Event(kind="done", key=call.ref.key, seconds=seconds, facts=output.facts))


def describe_failure(key: str, error: Exception) -> Event:
    """The event of a call that ends with the error being handled."""
    is_readable = isinstance(error, MedCriticalError)
    return Event(
        kind="failed",
        key=key,
        exit_code=error.exit_code if isinstance(error, MedCriticalError) else 1,
        message=str(error) if is_readable else "".join(traceback.format_exception_only(error)).strip(),
        traceback=traceback.format_exc(),
    )


def main(work_path: Path) -> int:
    """Run all calls of a work file in order, then those that standard input brings, until it ends; the exit status."""
    interruption = Interruption()
    interruption.heed()
    try:
        return _make_all(work_path, interruption)
    except KeyboardInterrupt:
        return 130


def _make_all(work_path: Path, interruption: Interruption) -> int:
    reporter = Reporter(int(os.environ["MEDCRITICAL_EVENTS"]), interruption.check)
    work = read_json(work_path, WorkFile)
    store = Store(Path(work.store))
    given = (msgspec.json.decode(line, type=CallFile) for line in sys.stdin.buffer)
    for call in itertools.chain(work.calls, given):
        try:
            run_call(call, store, work, reporter)
        except Exception as error:
            failure = describe_failure(call.ref.key, error)
            reporter.tell(failure)
            print(failure.traceback, file=sys.stderr)  # last: the log may lie on the disk that is full
            return failure.exit_code
        interruption.check()  # nothing further is begun
    return 0


if __name__ == "__main__":
    assert slices  # registers the slices
    sys.exit(main(Path(sys.argv[1])))
