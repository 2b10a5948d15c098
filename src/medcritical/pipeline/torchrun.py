"""Stages whose work is shared by ranks: torchrun starts these, and a supervisor starts them again when one dies.

    medcritical (parent) -> torchrun (one per machine) -> ranks (`medcritical.pipeline.rank`)

Everything else runs in one worker process, as with `cluster=local`. torchrun's own restarts are not used: they did not
recover over two machines. Each start of ours is a new torchrun at a new port; its ranks find their newest checkpoint,
or the answers that they have kept.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from medcritical.config.choices import StrategyKind
from medcritical.config.cluster import OFFLOADING, is_of_launcher, zero_stage
from medcritical.config.load import to_plain
from medcritical.config.schema import Config
from medcritical.errors import ConfigError
from medcritical.pipeline import nodes
from medcritical.pipeline.execute import (
    GRACE_SECONDS,
    LocalExecutor,
    StageFailed,
    call_file,
    describe_death,
    follow,
    stage_failed,
)
from medcritical.pipeline.nodes import Announcement, Ending
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.rank import WORK, RankFailure, RankWork, failure_path, pid_path
from medcritical.pipeline.watch import Watcher
from medcritical.pipeline.worker import Event
from medcritical.store import Store, read_json, write_json

AGENT_GRACE_SECONDS = 45.0  # torchrun gives its ranks 30 seconds after SIGTERM, then kills them
DEFECT = 1  # the exit code of a rank that met an error which may pass: a lost peer, a full GPU, a bug

PORTS = 100
"""Ports from that of `cluster.rdzv_endpoint` on that starts over several machines use in turn."""

_COMPILERS = ("c++", "g++", "clang++")


class TorchrunExecutor:
    """Ranked stages on `cluster.nproc_per_node` ranks, one stage at a time; the others in a worker process.

    Raises:
        ConfigError: what the strategy needs is not installed.
    """

    def __init__(self, store: Store, folder: Path, config: Config) -> None:
        check_programs(config.strategy.kind)
        self.store, self.folder, self.config, self.cluster = store, folder, config, config.cluster
        self.local = LocalExecutor(store.root, folder, config.trainer, isolate=config.cluster.isolate)
        self.log_path, self.num_meetings = folder / "worker.log", 0

    def execute(self, calls: Sequence[StageCall], watcher: Watcher) -> None:
        """See `Executor`."""
        if self.cluster.node_rank > 0:
            self._follow_first_node(calls, watcher)
            return
        with nodes.answering(self.store.root) if self.cluster.nnodes > 1 else nullcontext():
            for ranked, group in groupby(calls, key=self._is_ranked):
                if not ranked:
                    self.local.execute(list(group), watcher)
                    continue
                for call in group:
                    self._make(call, watcher)

    def _is_ranked(self, call: StageCall) -> bool:
        spreads = self.cluster.spread_generation and self.cluster.world_size > 1
        return call.config.ranked or (spreads and call.config.generates)

    def _make(self, call: StageCall, watcher: Watcher) -> None:
        """Make one artefact under its lock, starting again after a rank died. Raises StageFailed for the last reason."""
        ref, max_restarts = call.ref, self.cluster.max_restarts
        with self.store.lock(ref):
            if self.store.is_complete(ref):
                watcher.see(Event(kind="shared", key=ref.key))
                return
            watcher.see(Event(kind="started", key=ref.key))
            nodes.forget_starts(self.store.unfinished(ref))
            for restart in range(max_restarts + 1):
                start = nodes.new_start(self.store.unfinished(ref))
                try:
                    with self.store.build(ref):
                        self._start(call, start, watcher)
                    return
                except StageFailed as failed:
                    is_last = failed.exit_code != DEFECT or restart == max_restarts
                    nodes.end(start, Ending(str(failed), failed.exit_code if is_last else None))
                    if is_last:
                        raise
                    told = f"{failed}\n    starting again, {restart + 1} of {max_restarts} times, from what was kept."
                    watcher.see(Event(kind="note", key=ref.key, message=told))

    def _start(self, call: StageCall, start: Path, watcher: Watcher) -> None:
        """Have all ranks make the artefact, once. Raises StageFailed with the reason of the rank that failed first."""
        work = RankWork(
            store=str(self.store.root),
            trainer=to_plain(self.config.trainer),
            call=call_file(call),
            strategy=self.config.strategy.kind.value,
            timeout_seconds=self.cluster.timeout_seconds,
            deadline=self.local.deadline,
        )
        write_json(start / WORK, work)
        meeting = self._next_meeting()
        nodes.announce(start, meeting)
        exit_code = self._run_ranks(start, meeting, watcher)
        if exit_code != 0:
            raise self._reason(call, start, exit_code)

    def _next_meeting(self) -> Announcement:
        """A port that no start has used before: a free one here, or for several machines the next of `PORTS`."""
        if self.cluster.nnodes == 1:
            return Announcement("127.0.0.1", _free_port())
        host, _, port = self.cluster.rdzv_endpoint.partition(":")
        self.num_meetings += 1
        return Announcement(host, int(port) + (self.num_meetings - 1) % PORTS)

    def _follow_first_node(self, calls: Sequence[StageCall], watcher: Watcher) -> None:
        """Wait for every artefact, and take part in those that ranks make. Raises StageFailed when machine 0 gives up."""
        cluster = self.cluster
        nodes.check_shared(self.store.root, cluster.node_rank, cluster.rdzv_endpoint, cluster.timeout_seconds)
        for call in calls:
            unfinished = self.store.unfinished(call.ref)
            joined = of_others = nodes.last_ended(unfinished)
            while not self.store.is_complete(call.ref):
                for number, start, meeting in nodes.open_starts(unfinished, joined):
                    joined = number
                    self._run_ranks(start, meeting, watcher)  # how it went is machine 0's to say
                if (ending := nodes.final_ending(unfinished, of_others)) and ending.exit_code is not None:
                    raise StageFailed(ending.message, ending.exit_code)
                time.sleep(nodes.POLL_SECONDS)
            watcher.see(Event(kind="shared", key=call.ref.key))

    def _run_ranks(self, start: Path, meeting: Announcement, watcher: Watcher) -> int:
        """torchrun's exit status. On any error, Ctrl-C included, this machine's ranks save and are stopped."""
        with self.log_path.open("ab") as log, _named_pipe() as (pipe, events, close_events):
            process = subprocess.Popen(
                self._command(start, meeting),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(pipe),
                start_new_session=True,
            )
            waiting = threading.Thread(target=lambda: (process.wait(), close_events()))
            waiting.start()
            try:
                follow(events, watcher)
                return process.wait()
            finally:
                self._stop(process, start)
                waiting.join()

    def _command(self, start: Path, meeting: Announcement) -> list[str]:
        cluster = self.cluster
        return [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes", str(cluster.nnodes), "--node-rank", str(cluster.node_rank)),
            *("--nproc-per-node", str(cluster.nproc_per_node), "--max-restarts", "0"),
            *("--master-addr", meeting.host, "--master-port", str(meeting.port)),
            *("--rdzv-conf", f"timeout={cluster.timeout_seconds:.0f}"),
            *("-m", "medcritical.pipeline.rank", str(start)),
        ]

    def _stop(self, process: subprocess.Popen[bytes], start: Path) -> None:
        """Ask this machine's ranks, if they still run, to save and stop; then end torchrun and whatever it has left."""
        if process.poll() is None:
            first = self.cluster.node_rank * self.cluster.nproc_per_node
            for rank in range(first, first + self.cluster.nproc_per_node):
                _ask_to_stop(pid_path(start, rank))
            _wait(process, GRACE_SECONDS)
        if process.poll() is None:
            process.terminate()
            _wait(process, AGENT_GRACE_SECONDS)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _reason(self, call: StageCall, start: Path, exit_code: int) -> StageFailed:
        """Why the stage failed: what the first rank said that did not merely miss another one, or who died in silence."""
        ranks = range(self.cluster.world_size)
        failures = [read_json(path, RankFailure) for rank in ranks if (path := failure_path(start, rank)).is_file()]
        failures.sort(key=lambda failure: (failure.lost_peer, failure.time))
        if failures and not failures[0].lost_peer:
            return stage_failed(call, failures[0].event, self.log_path)
        heard = {failure.rank for failure in failures}
        silent = [rank for rank in ranks if rank not in heard and pid_path(start, rank).is_file()]
        where = f"{call.ref.stage} ({call.label}) failed"
        if silent:
            who = f"rank {silent[0]}" if len(silent) == 1 else f"ranks {', '.join(map(str, silent))}"
            return StageFailed(
                f"{where}: {who} died without a word, as when it is killed; the kernel kills processes that use too much "
                f"memory. Output of all ranks is in {self.log_path}.",
                DEFECT,
            )
        if failures:
            return stage_failed(call, failures[0].event, self.log_path)
        how = describe_death(exit_code)
        return StageFailed(f"{where}: torchrun ended ({how}); its output is in {self.log_path}.", DEFECT)


def check_programs(kind: StrategyKind) -> None:
    """Refuse a strategy whose programs are not installed. Raises ConfigError with one sentence."""
    if not zero_stage(kind):
        return
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(f"strategy={kind.value} needs DeepSpeed: run `pip install 'medcritical[deepspeed]'`.")
    path = _search_path()
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else _COMPILERS
    has_compiler = any(shutil.which(compiler, path=path) for compiler in compilers)
    if kind in OFFLOADING and not (has_compiler and shutil.which("ninja", path=path)):
        raise ConfigError(
            f"strategy={kind.value} builds DeepSpeed's CPU Adam at its first start, which needs a C++ compiler and ninja: "
            f"install them (e.g. `apt install g++ ninja-build`), or choose strategy=zero{zero_stage(kind)}."
        )


@contextmanager
def _named_pipe() -> Iterator[tuple[Path, BinaryIO, Callable[[], None]]]:
    """A new pipe's name for its writers, its reading end, and what to call when its writers are gone.

    A reader sees the end of it when nobody has it open for writing. Until the ranks have, this process does.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writing = os.open(path, os.O_WRONLY)
        os.set_blocking(reading, True)
        with os.fdopen(reading, "rb") as events:
            yield path, events, lambda: os.close(writing)


def _environment(events: Path) -> dict[str, str]:
    """This process's, without what another launcher has left in it."""
    kept = {name: value for name, value in os.environ.items() if not is_of_launcher(name)}
    return {
        "OMP_NUM_THREADS": "1",
        **kept,
        "PATH": _search_path(),
        "MEDCRITICAL_EVENTS": str(events),
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _search_path() -> str:
    """PATH with the programs of this Python's environment first: ninja comes with DeepSpeed."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _free_port() -> int:
    """A port of this machine that nobody listens at."""
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
