"""What a run or a sweep needs is listed in the store from its first look at it to its results."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from configurations import configure
from medcritical.cli import launch as launching
from medcritical.pipeline import run as running
from medcritical.pipeline.run import Run, execute_run, plan_run, prepare_run, read_pace
from medcritical.pipeline.sweep import Cell
from medcritical.store import Costs, write_json
from medcritical.store.in_use import upkeep, used_names


def planned(root: Path, *overrides: str) -> Run:
    places = (f"paths.store={root / 'store'}", f"paths.outputs={root / 'outputs'}")
    return plan_run(configure("arm=[]", *places, *overrides))


def needs(run: Run) -> set[str]:
    return {f"{call.ref.stage}/{call.ref.key[:16]}" for call in run.plan.calls}


@pytest.fixture
def done(tmp_path: Path) -> Run:
    """A run with all its artefacts, empty ones, and without its results."""
    run = planned(tmp_path)
    prepare_run(run, read_pace(run.store))
    for call in run.plan.calls:
        with run.store.lock(call.ref), run.store.build(call.ref) as folder:
            write_json(folder / "report.json", {})
            run.store.complete(call.ref, version=1, config={}, inputs=call.inputs, facts={}, costs=Costs())
    return run


def test_it_is_listed_while_the_results_are_gathered(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gather, listed = running._gather, list[set[str]]()

    def watched(*arguments: Any) -> Path:
        listed.append(used_names(done.store.root))
        return gather(*arguments)

    monkeypatch.setattr(running, "_gather", watched)
    assert execute_run(done) == done.folder.path / "summary.json"
    assert listed == [needs(done)]
    assert used_names(done.store.root) == set()


def test_a_store_that_may_not_be_written_to_is_not_where_nothing_is_missing(
    done: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    before = sorted(done.store.root.rglob("*"))
    assert execute_run(done) is not None
    assert sorted(done.store.root.rglob("*")) == before


def test_a_run_that_begins_while_prune_removes_makes_that_again(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits until prune has ended, and looks then what is missing."""
    missing, report = list[list[str]](), done.plan.report.ref

    def made_again(run: Run) -> None:
        missing.append([call.ref.stage for call in run.missing()])
        with run.store.build(report) as folder:
            write_json(folder / "report.json", {})

    monkeypatch.setattr(running, "_make_missing", made_again)
    beginning = threading.Thread(target=execute_run, args=(done,))
    with upkeep(done.store.root):
        beginning.start()
        time.sleep(0.3)
        done.store.discard(report)
        assert not missing
    beginning.join(20)
    assert missing == [["report"]]


def test_a_sweep_lists_what_its_waiting_cells_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, listed = [planned(tmp_path, f"seed={seed}") for seed in (0, 1)], list[set[str]]()
    for run in runs:
        prepare_run(run, read_pace(run.store))
    monkeypatch.setattr(launching, "_hand_over", lambda *_: listed.append(used_names(runs[0].store.root)))
    launching.launch(None, [Cell((), (), run) for run in runs])  # type: ignore[arg-type]
    assert listed == [needs(runs[0]) | needs(runs[1])]
