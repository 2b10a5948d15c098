"""What cells share, by their plans alone: nothing is run."""

from collections import Counter
from pathlib import Path

import pytest

from medcritical.cli.compose import compose_cells
from medcritical.cli.launch import plan_cells
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.sweep import Cell, describe_sweep, in_launching_order, prepare_cells
from medcritical.pipeline.sweep_status import read_status

GRID = ("arm=dpo_self", "selfplay.beta=0.05,0.1,0.3", "selfplay.iterations=1,2,3")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    """The 3 x 3 grid in an empty folder."""
    folder = tmp_path_factory.mktemp("grid")
    return plan_cells(compose_cells([*GRID, f"paths.outputs={folder}", f"paths.store={folder / 'store'}"]))


def test_the_grid_has_one_stage_one_one_first_play_and_nine_trainings(cells: list[Cell]) -> None:
    distinct = {call.ref.key: call for cell in cells for call in cell.run.plan.calls}
    labels = Counter((call.ref.stage, call.label) for call in distinct.values())
    assert labels["sft", "stage 1"] == labels["sft", "stage 1, second pass"] == 1
    assert labels["play", "dpo_self iteration 1"] == labels["reference", "dpo_self iteration 1"] == 1
    assert [labels["play", f"dpo_self iteration {t}"] for t in (2, 3)] == [3, 3]
    assert [labels["dpo", f"dpo_self iteration {t}"] for t in (1, 2, 3)] == [3, 3, 3]
    assert labels["report", "tables and figures"] == 9


def test_a_chain_of_three_holds_those_of_one_and_two(cells: list[Cell]) -> None:
    one, two, three = ({call.ref.key for call in cell.run.plan.calls[:-1]} for cell in cells[:3])
    assert one < two < three


def test_the_longest_chains_are_launched_first(cells: list[Cell]) -> None:
    order = [(c.run.config.selfplay.iterations, c.run.config.selfplay.beta) for c in in_launching_order(cells)]
    assert order == [(t, beta) for t in (3, 2, 1) for beta in (0.05, 0.1, 0.3)]


def test_a_cell_is_known_by_its_configuration_and_by_no_clock(cells: list[Cell]) -> None:
    names = {cell.run.folder.path.name for cell in cells}
    assert len(names) == 9
    outputs = f"paths.outputs={cells[0].run.folder.path.parent}"
    overrides = [outputs, "selfplay.iterations=3", "selfplay.beta=0.3,0.05", "arm=dpo_self", "sweep.on_error=continue"]
    again = plan_cells(compose_cells(overrides))
    assert {cell.run.folder.path.name for cell in again} == {
        cells[8].run.folder.path.name,
        cells[2].run.folder.path.name,
    }


def test_cells_that_are_the_same_are_run_once() -> None:
    cells = plan_cells(compose_cells(["arm=dpo_self", "trainer.threads=1,2"]))
    assert [cell.swept for cell in cells] == [("trainer.threads=1",)]


def test_the_plan_counts_shared_stages_once(cells: list[Cell]) -> None:
    *lines, total, to_run = describe_sweep(cells, Pace(cells[0].run.store)).splitlines()
    assert len(lines) == 2 * 9
    assert "selfplay.beta=0.05 selfplay.iterations=1" in lines[0]
    assert "24 stages: 0 done, 24 to run, 17 of these shared with cells above" in lines[3]
    assert total.startswith(
        "TOTAL over 9 cells, shared stages once: 68 stages (216 if nothing were shared): 0 done, 68"
    )
    assert to_run == (
        "to run: prepare 1, student 1, answer 11, score 11, teach 2, sft 2, play 8, pair 7, reference 7, dpo 9, report 9."
    )
    student = 11 * 1000 * 50 + 120 * 4 * 50 + 7 * 800 * 113
    assert f"at most {120 * 3 // 2 * 50 + 120 * 2 * 64:,} teacher tokens and {student:,} student tokens" in total


def test_before_the_first_stage_every_cell_waits_and_the_time_is_guessed(cells: list[Cell]) -> None:
    pace = Pace(cells[0].run.store)
    prepare_cells(cells, pace)
    status = read_status(cells[0].run.folder.path.parent)
    assert (status.done, status.running, status.failed, status.waiting) == (0, 0, 0, 9)
    assert {cell.cell: cell.swept for cell in status.cells} == {c.run.folder.path.name: list(c.swept) for c in cells}
    assert status.stages_executed == {}
    assert (status.stages_missing["dpo"], status.stages_missing["sft"]) == (9, 2)
    distinct = {call.ref.key: (call, cell.run.plan) for cell in cells for call in cell.run.plan.calls}
    seconds = sum(pace.seconds(call, plan) or 0 for call, plan in distinct.values())
    assert status.seconds_left == pytest.approx(seconds, abs=0.1)
    with cells[0].run.folder.hold():
        assert read_status(cells[0].run.folder.path).running == 1


def test_status_of_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    from medcritical.errors import DataError

    with pytest.raises(DataError, match="no run was ever planned"):
        read_status(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        read_status(tmp_path / "none")
