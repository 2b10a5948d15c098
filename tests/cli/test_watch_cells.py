"""What is said of a cell while others still run."""

import io
import time
from pathlib import Path

import pytest

from medcritical.cli.compose import compose_cells
from medcritical.cli.launch import plan_cells
from medcritical.cli.watch_cells import CellWatcher
from medcritical.pipeline.run_folder import Failure
from medcritical.pipeline.sweep import Cell

SECONDS = 20.0  # the watcher looks twice a second


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    """Three planned cells in an empty folder."""
    places = [f"paths.outputs={tmp_path}", f"paths.store={tmp_path / 'store'}"]
    return plan_cells(compose_cells(["arm=dpo_self", "selfplay.iterations=1", "selfplay.beta=0.1,0.2,0.3", *places]))


def fail(cell: Cell) -> None:
    cell.run.folder.fail(Failure(stage="dpo", message="dpo failed: no pairs.", log="worker.log", exit_code=2))


def wait_for(stream: io.StringIO) -> str:
    """What the stream holds as soon as a cell's lines are whole, or when that takes too long."""
    until = time.monotonic() + SECONDS
    while not stream.getvalue().endswith("have ended\n") and time.monotonic() < until:
        time.sleep(0.02)
    return stream.getvalue()


def test_a_failure_is_told_while_the_others_run_and_once(cells: list[Cell]) -> None:
    stream = io.StringIO()
    error = f"\nerror: cell {cells[1]}: dpo failed: no pairs.\n    log: worker.log\n    1 of 3 cells have ended\n"
    with CellWatcher(cells, stream):
        fail(cells[1])
        told_inside = wait_for(stream)
    assert told_inside == error
    assert stream.getvalue() == error


def test_what_fails_last_is_told_before_the_block_ends(cells: list[Cell]) -> None:
    stream = io.StringIO()
    with CellWatcher(cells, stream):
        fail(cells[0])
        fail(cells[2])
    told = stream.getvalue()
    assert [f"error: cell {cell}: " in told for cell in cells] == [True, False, True]
    assert told.endswith("2 of 3 cells have ended\n")
