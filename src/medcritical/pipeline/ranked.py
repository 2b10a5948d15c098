"""Stages whose work is shared by ranks: a launcher starts these, and a supervisor starts them again when one dies.

    medcritical (parent) -> torchrun (one per machine), or srun -> ranks (`medcritical.pipeline.rank`)

Everything else runs in one worker process, as with `cluster=local`. torchrun's own restarts are not used: they did not
recover over two machines. Each start of ours is a new launcher at a new port; its ranks find their newest checkpoint,
or the answers that they have kept.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from medcritical.config.choices import ClusterKind, StrategyKind
from medcritical.config.cluster import OFFLOADING, is_of_launcher, zero_stage
from medcritical.config.load import to_plain
from medcritical.config.schema import Config
from medcritical.errors import ConfigError
from medcritical.pipeline import nodes
from medcritical.pipeline.execute import LocalExecutor, StageFailed, call_file, follow
from medcritical.pipeline.guard import SUPERVISOR, Guard
from medcritical.pipeline.launchers import Launcher, Torchrun, wait_for
from medcritical.pipeline.meeting import FirstMachine
from medcritical.pipeline.nodes import Announcement, Ending
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.rank import WORK, RankWork
from medcritical.pipeline.reasons import DEFECT, Outcome, find_reason
from medcritical.pipeline.slurm import Srun
from medcritical.pipeline.source_tree import source_commit
from medcritical.pipeline.watch import Watcher
from medcritical.pipeline.worker import Event
from medcritical.store import Store, write_json

_COMPILERS = ("c++", "g++", "clang++")


class RankExecutor:
    """Ranked stages on `cluster.nproc_per_node` ranks a machine, one stage at a time; the others in a worker process.

    Raises:
        ConfigError: what the strategy needs is not installed, or the allocation is not what the configuration counts on.
    """

    def __init__(self, store: Store, folder: Path, config: Config) -> None:
        check_programs(config.strategy.kind)
        self.store, self.folder, self.config, self.cluster = store, folder, config, config.cluster
        self.local = LocalExecutor(store.root, folder, config)
        self.launcher: Launcher = Srun(config) if config.cluster.kind is ClusterKind.slurm else Torchrun(config.cluster)
        self.log_path = folder / "worker.log"
        self.known: set[int] = set()  # machines that have come to a start

    def execute(self, calls: Sequence[StageCall], watcher: Watcher) -> None:
        """See `Executor`."""
        if self.cluster.node_rank > 0:
            self._follow_first_node(calls, watcher)
            return
        with self.launcher.sharing(self.store.root):
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
                    nodes.end(start, Ending(str(failed)))
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
            world_size=self.cluster.world_size,
            timeout_seconds=self.cluster.timeout_seconds,
            deadline=self.local.deadline,
            commit=source_commit(),
        )
        write_json(start / WORK, work)
        meeting = self.launcher.next_meeting()
        nodes.announce(start, meeting)
        ended = self._run_ranks(start, meeting, watcher)
        others = set(range(1, self.cluster.nnodes))
        if ended.exit_code == 0 or self.store.is_complete(call.ref):  # a process may die when its work is done
            self.known = others
            return
        known, self.known = self.known, self.known | others - set(nodes.absent_machines(start, self.cluster))
        raise find_reason(call, start, self.cluster, ended, self.log_path, known)

    def _follow_first_node(self, calls: Sequence[StageCall], watcher: Watcher) -> None:
        """Wait for every artefact, and take part in those that ranks make.

        Raises:
            ConfigError: machine 0 cannot be met, or counts on other machines or ranks.
            FirstMachineGone: it has given up, or is gone.
        """
        cluster = self.cluster
        first = FirstMachine(self.store.root, cluster)
        for call in calls:
            unfinished, joined = self.store.unfinished(call.ref), -1
            while not self.store.is_complete(call.ref):
                first.check()
                for number, start, meeting in nodes.open_starts(unfinished, cluster.rdzv_endpoint, joined):
                    joined = number
                    nodes.join(start, cluster.node_rank)
                    ended = self._run_ranks(start, meeting, watcher)
                    if ended.exit_code != 0:  # why is machine 0's to say
                        nodes.report_loss(start, cluster.node_rank, ended.exit_code)
                time.sleep(nodes.POLL_SECONDS)
            watcher.see(Event(kind="shared", key=call.ref.key))

    def _run_ranks(self, start: Path, meeting: Announcement, watcher: Watcher) -> Outcome:
        """Start this machine's ranks, and wait until they have ended.

        On any error, Ctrl-C included, this machine's ranks save and are stopped.
        """
        guard = Guard(start, self.cluster)
        with self.log_path.open("ab") as log, _named_pipe() as (pipe, events, close_events):
            process = subprocess.Popen(
                self.launcher.command(start, meeting),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(pipe, self.launcher.variables(meeting)),
                start_new_session=True,
            )
            waiting = threading.Thread(target=lambda: (process.wait(), close_events()))
            waiting.start()
            with guard.guarding(lambda: self.launcher.kill(process)):
                try:
                    follow(events, watcher)
                    return Outcome(self.launcher.name, process.wait(), guard.lost_ranks(), guard.absent)
                finally:
                    self._stop(process, start)
                    waiting.join()

    def _stop(self, process: subprocess.Popen[bytes], start: Path) -> None:
        """Ask this machine's ranks, if they still run, to save and stop; then end the launcher and them."""
        if process.poll() is None:
            self.launcher.ask_to_stop(process, start)
            wait_for(process, self.cluster.stop_seconds)
        if process.poll() is None:
            self.launcher.kill(process)
            process.wait()


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


def _environment(events: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """This process's, without what another launcher has left in it."""
    kept = {name: value for name, value in os.environ.items() if name != SUPERVISOR and not is_of_launcher(name)}
    return {
        "OMP_NUM_THREADS": "1",
        **variables,
        **kept,
        "PATH": _search_path(),
        "MEDCRITICAL_EVENTS": str(events),
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _search_path() -> str:
    """PATH with the programs of this Python's environment first: ninja comes with DeepSpeed."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
