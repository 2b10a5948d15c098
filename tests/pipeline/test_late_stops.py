"""Stops at awkward moments. One that comes when a stage has done nearly all of its work, or all, loses nothing finished and
lets nothing more begin; a worker or rank that does not obey is killed after `cluster.stop_seconds`."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import psutil
import pytest
from ranked_runs import RANKS, SMALL, Shown, calls_until_sft

from configurations import configure
from medcritical.config.load import to_plain
from medcritical.pipeline.execute import Executor, LocalExecutor, call_file
from medcritical.pipeline.nodes import pid_path
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.ranked import RankExecutor
from medcritical.pipeline.schedule import ParallelExecutor
from medcritical.pipeline.watch import Watcher
from medcritical.pipeline.worker import Event, Reporter, WorkFile, run_call
from medcritical.store import Store

STEPS = "sft.steps=6"


class Interrupting(Reporter):
    """Sends Ctrl-C to this process when it tells a certain event."""

    def __init__(self, kind: str) -> None:
        super().__init__(os.open(os.devnull, os.O_WRONLY))
        self.kind, self.told = kind, list[str]()

    def tell(self, event: Event) -> None:
        """Tells it first."""
        super().tell(event)
        self.told.append(event.kind)
        if event.kind == self.kind and event.done == event.total:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("kind", ["progress", "done"])
def test_ctrl_c_with_the_last_step_or_after_it_ends_the_worker_when_the_stage_is_complete(
    tmp_path: Path, kind: str
) -> None:
    calls, config, store = calls_until_sft(STEPS), configure(*SMALL, STEPS), Store(tmp_path / "store")
    watcher = Watcher(calls, 0, Shown())
    LocalExecutor(store.root, tmp_path, config).execute(calls[:-1], watcher)
    reporter, work = Interrupting(kind), WorkFile(store=str(store.root), trainer=to_plain(config.trainer), calls=[])
    with pytest.raises(KeyboardInterrupt):
        run_call(call_file(calls[-1]), store, work, reporter)
    assert reporter.told[-1] == "done"
    assert store.is_complete(calls[-1].ref)
    assert not store.unfinished(calls[-1].ref).exists()


class Stopped(Watcher):
    """A person's, who ends the command when stage 1 is done."""

    def see(self, event: Event) -> None:
        """As the handler of SIGTERM does."""
        super().see(event)
        if event.kind == "done" and event.facts.get("steps"):
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stop_when_ranks_are_done_but_not_gone_loses_nothing(tmp_path: Path) -> None:
    overrides = (*RANKS, STEPS, "strategy=ddp")
    calls, store = calls_until_sft(*overrides), Store(tmp_path / "store")
    executor = RankExecutor(store, tmp_path, configure(*SMALL, *overrides))
    with pytest.raises(KeyboardInterrupt):
        executor.execute(calls, Stopped(calls, 0, Shown()))
    assert store.is_complete(calls[-1].ref)
    began = time.monotonic()
    again = Watcher(calls, 0, shown := Shown())
    executor.execute(calls[-1:], again)
    assert "goes on" not in shown.getvalue()
    assert time.monotonic() - began < 5


class Frozen(Watcher):
    """A person's, who ends the command when processes that make `call` do not answer any more."""

    def __init__(self, call: StageCall, find: Callable[[], Iterable[int]]) -> None:
        super().__init__([call], 0, Shown())
        self.call, self.find, self.processes, self.began = call, find, list[psutil.Process](), 0.0

    def see(self, event: Event) -> None:
        """Stops the processes at its first sign of work."""
        if event.key == self.call.ref.key and event.kind == ("progress" if self.call.config.ranked else "started"):
            self.processes = [psutil.Process(pid) for pid in self.find()]
            for process in self.processes:
                process.suspend()
            self.began = time.monotonic()
            raise KeyboardInterrupt

    def assert_killed_within(self, executor: Executor, least: float, most: float) -> None:
        """The executor ends after so many seconds, and the processes with it."""
        with pytest.raises(KeyboardInterrupt):
            executor.execute([self.call], self)
        assert least < time.monotonic() - self.began < most
        assert self.processes
        assert not any(process.is_running() for process in self.processes)


@pytest.mark.parametrize("is_parallel", [False, True], ids=["one", "several"])
def test_a_worker_that_does_not_stop_is_killed_in_time(tmp_path: Path, is_parallel: bool) -> None:
    config = configure(*SMALL, "cluster.stop_seconds=0.7")
    make = partial(ParallelExecutor, workers=2) if is_parallel else LocalExecutor
    (tmp_path / "store").mkdir()
    watcher = Frozen(calls_until_sft()[0], lambda: [child.pid for child in psutil.Process().children()])
    watcher.assert_killed_within(make(tmp_path / "store", tmp_path, config), 0.7, 10)


def test_several_workers_that_do_not_stop_are_killed_when_one_would_be(tmp_path: Path) -> None:
    config, calls = configure(*SMALL, "cluster.stop_seconds=4"), calls_until_sft()[:2]
    (tmp_path / "store").mkdir()
    watcher = Frozen(calls[0], lambda: [child.pid for child in psutil.Process().children()])
    with pytest.raises(KeyboardInterrupt):
        ParallelExecutor(tmp_path / "store", tmp_path, config, workers=2).execute(calls, watcher)
    assert 4 < time.monotonic() - watcher.began < 7.5, "not 4 seconds for the one and then for the other"
    assert len(watcher.processes) == 2
    assert not any(process.is_running() for process in watcher.processes)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ranks_that_do_not_stop_are_killed_in_time(tmp_path: Path) -> None:
    overrides = (*RANKS, "strategy=ddp", "cluster.stop_seconds=3")
    calls, store = calls_until_sft(*overrides), Store(tmp_path / "store")
    executor = RankExecutor(store, tmp_path, configure(*SMALL, *overrides))
    executor.execute(calls[:-1], Watcher(calls, 0, Shown()))

    def second_rank() -> list[int]:
        (start,) = store.unfinished(calls[-1].ref).glob("start-*")
        return [int(pid_path(start, 1).read_text(encoding="utf-8"))]

    Frozen(calls[-1], second_rank).assert_killed_within(executor, 3, 20)
