"""Stages whose work is shared by ranks: torchrun starts these, and a supervisor starts them again when one dies.

    medcritical (parent) -> torchrun (one per machine) -> ranks (`medcritical.pipeline.rank`)

Everything else runs in one worker process, as with `cluster=local`. torchrun's own restarts are not used: they did not
recover over two machines (docs/log.md). Each start of ours is a new torchrun at a new port; ranks find their checkpoints.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from medcritical.config.load import to_plain
from medcritical.config.schema import Config
from medcritical.pipeline.execute import (
    GRACE_SECONDS,
    LocalExecutor,
    StageFailed,
    call_file,
    describe_death,
    follow,
    stage_failed,
)
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.rank import EVENTS, WORK, RankFailure, RankWork, failure_path, pid_path
from medcritical.pipeline.watch import Watcher
from medcritical.pipeline.worker import Event
from medcritical.store import Store, read_json, write_json

AGENT_GRACE_SECONDS = 45.0  # torchrun gives its ranks 30 seconds after SIGTERM, then kills them
DEFECT = 1  # the exit code of a rank that met an error which may pass: a lost peer, a full GPU, a bug

_LAUNCHER_VARIABLES = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip


class TorchrunExecutor:
    """Ranked stages on `cluster.nproc_per_node` ranks, one stage at a time; the others in a worker process."""

    def __init__(self, store: Store, folder: Path, config: Config) -> None:
        self.store, self.folder, self.config = store, folder, config
        self.local = LocalExecutor(store.root, folder, config.trainer, isolate=config.cluster.isolate)

    def execute(self, calls: Sequence[StageCall], watcher: Watcher) -> None:
        """See `Executor`."""
        for ranked, group in groupby(calls, key=lambda call: call.config.ranked):
            if not ranked:
                self.local.execute(list(group), watcher)
                continue
            for call in group:
                self._make(call, watcher)

    def _make(self, call: StageCall, watcher: Watcher) -> None:
        """Make one artefact under its lock, starting again after a rank died. Raises StageFailed for the last reason."""
        ref, max_restarts = call.ref, self.config.cluster.max_restarts
        with self.store.lock(ref):
            if self.store.is_complete(ref):
                watcher.see(Event(kind="shared", key=ref.key))
                return
            watcher.see(Event(kind="started", key=ref.key))
            for restart in range(max_restarts + 1):
                try:
                    with self.store.build(ref):
                        self._start(call, restart, watcher)
                    return
                except StageFailed as failed:
                    if failed.exit_code != DEFECT or restart == max_restarts:
                        raise
                    told = f"{failed}\n    starting again, {restart + 1} of {max_restarts} times, from the newest checkpoint."
                    watcher.see(Event(kind="note", key=ref.key, message=told))

    def _start(self, call: StageCall, restart: int, watcher: Watcher) -> None:
        """Have all ranks make the artefact, once. Raises StageFailed with the reason of the rank that failed first."""
        launch = self.folder / f"ranks-{restart}"
        shutil.rmtree(launch, ignore_errors=True)
        launch.mkdir(parents=True)
        work = RankWork(
            store=str(self.store.root),
            trainer=to_plain(self.config.trainer),
            call=call_file(call),
            strategy=self.config.strategy.kind.value,
            timeout_seconds=self.config.cluster.timeout_seconds,
            deadline=self.local.deadline,
        )
        write_json(launch / WORK, work)
        log_path = self.folder / "worker.log"
        with log_path.open("ab") as log, self._torchrun(launch, log) as (process, events):
            follow(events, watcher)
            exit_code = process.wait()
        if exit_code != 0:
            raise self._reason(call, launch, exit_code, log_path)

    @contextmanager
    def _torchrun(self, launch: Path, log: BinaryIO) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
        """A running torchrun and the events of its rank 0. On any error, Ctrl-C included, ranks save and are stopped."""
        with _named_pipe(launch / EVENTS) as (events, close_events):
            process = subprocess.Popen(
                self._command(launch),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(launch / EVENTS),
                start_new_session=True,
            )
            waiting = threading.Thread(target=lambda: (process.wait(), close_events()))
            waiting.start()
            try:
                yield process, events
            finally:
                self._stop(process, launch)
                waiting.join()

    def _command(self, launch: Path) -> list[str]:
        cluster = self.config.cluster
        return [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes", str(cluster.nnodes), "--node-rank", str(cluster.node_rank)),
            *("--nproc-per-node", str(cluster.nproc_per_node), "--max-restarts", "0"),
            *("--master-addr", "127.0.0.1", "--master-port", str(_free_port())),
            *("-m", "medcritical.pipeline.rank", str(launch.resolve())),
        ]

    def _stop(self, process: subprocess.Popen[bytes], launch: Path) -> None:
        """Ask ranks that still run to save and stop; then end torchrun and whatever it has left."""
        if process.poll() is None:
            for rank in range(self.config.cluster.world_size):
                _ask_to_stop(pid_path(launch, rank))
            _wait(process, GRACE_SECONDS)
        if process.poll() is None:
            process.terminate()
            _wait(process, AGENT_GRACE_SECONDS)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _reason(self, call: StageCall, launch: Path, exit_code: int, log_path: Path) -> StageFailed:
        """Why the stage failed: what the first rank said that did not merely miss another one, or who died in silence."""
        ranks = range(self.config.cluster.world_size)
        failures = [read_json(path, RankFailure) for rank in ranks if (path := failure_path(launch, rank)).is_file()]
        failures.sort(key=lambda failure: (failure.lost_peer, failure.time))
        if failures and not failures[0].lost_peer:
            return stage_failed(call, failures[0].event, log_path)
        heard = {failure.rank for failure in failures}
        silent = [rank for rank in ranks if rank not in heard and pid_path(launch, rank).is_file()]
        where = f"{call.ref.stage} ({call.label}) failed"
        if silent:
            who = f"rank {silent[0]}" if len(silent) == 1 else f"ranks {', '.join(map(str, silent))}"
            return StageFailed(
                f"{where}: {who} died without a word, as when it is killed; the kernel kills processes that use too much "
                f"memory. Output of all ranks is in {log_path}.",
                DEFECT,
            )
        if failures:
            return stage_failed(call, failures[0].event, log_path)
        return StageFailed(f"{where}: torchrun ended ({describe_death(exit_code)}); its output is in {log_path}.", DEFECT)


@contextmanager
def _named_pipe(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], None]]]:
    """The reading end of a new pipe that others open by name, and how to end it once its writers are gone.

    It ends for a reader when nobody has it open for writing. Until the ranks have, this process does.
    """
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)
    os.set_blocking(reading, True)
    with os.fdopen(reading, "rb") as events:
        yield events, lambda: os.close(writing)


def _environment(events: Path) -> dict[str, str]:
    """This process's, without what another launcher has left in it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _LAUNCHER_VARIABLES and not name.startswith("TORCHELASTIC_")
    }
    return {
        "OMP_NUM_THREADS": "1",
        **kept,
        "MEDCRITICAL_EVENTS": str(events.resolve()),
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ask_to_stop(pid: Path) -> None:
    try:
        os.kill(int(pid.read_text(encoding="utf-8")), signal.SIGTERM)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return  # not started yet, or gone


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
