"""A stop that comes when a stage has done nearly all of its work, or all: nothing finished is lost, nothing more begins."""

import os
import signal
import time
from pathlib import Path

import pytest
from ranked_runs import RANKS, SMALL, Shown, calls_until_sft

from configurations import configure
from medcritical.config.load import to_plain
from medcritical.pipeline.execute import LocalExecutor, call_file
from medcritical.pipeline.ranked import RankExecutor
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
    LocalExecutor(store.root, tmp_path, config.trainer, isolate=False).execute(calls[:-1], watcher)
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
