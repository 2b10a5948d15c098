"""What a study is told of cells that are done, failed, or were left as they were, and when it asks for no more."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from toy_runs import FAILING, SWEEP, run

from medcritical.cli.compose import compose_cells
from medcritical.cli.study import run_study
from medcritical.pipeline.run_folder import Failure
from medcritical.pipeline.study import STUDY_FILE
from medcritical.pipeline.sweep import Cell
from medcritical.reporting.summary import SUMMARY, Summary, SummaryRow, write_summary
from medcritical.store import Costs

optuna = pytest.importorskip("optuna", reason="install medcritical[optuna]")
DONE, FAILED, OPEN = "COMPLETE", "FAIL", "RUNNING"

STUDY = ["sweep=study", "evaluation.split=dev"]


def trials_in(outputs: Path) -> list[Any]:
    """Optuna's own trials in the study of a folder, of which there is one."""
    storage = f"sqlite:///{outputs / STUDY_FILE}"
    (name,) = optuna.get_all_study_names(storage)
    return list(optuna.load_study(study_name=name, storage=storage).trials)


def told(outputs: Path) -> list[tuple[str, float | None]]:
    """State and accuracy of all trials but those that were put off and asked again."""
    trials = trials_in(outputs)
    return [(t.state.name, t.value) for t in trials if t.state.name != FAILED or t.user_attrs.get("failed")]


def finish(cell: Cell) -> None:
    """Leave what a cell leaves that ends at 60 %."""
    report, store = cell.run.plan.report.ref, cell.run.store
    with store.build(report):
        store.complete(report, version=1, config={}, inputs={}, facts={}, costs=Costs())
    numbers = {"num_questions": 60, "num_correct": 36, "accuracy": 0.6}
    row = SummaryRow(
        run="toy", arm="dpo_self", title="DPO", stage="dpo", iteration=1, beta=0.1, seed=0, data="clinic", split="dev",
        **numbers, unparsed=0, undecided=0, verifier="exact", sound=None, teacher_tokens=0,
        student_tokens=0, seconds=1.0, artefact="score/0", chance=0.25, commonest_letter_accuracy=0.3,
    )  # fmt: skip
    summary = Summary(
        store="../store", confidence=0.95, rows=(row,), predictions={}, scores={}, lineage={}, scoring={}, ledger={}
    )
    with cell.run.folder.gathering(report):
        write_summary(cell.run.folder.path / SUMMARY, summary)


def fail(cell: Cell) -> None:
    """Leave what a cell leaves that failed."""
    cell.run.folder.fail(Failure(stage="dpo", message="dpo failed.", log="worker.log", exit_code=2))


def leave(cell: Cell) -> None:
    """What a cell does that was not started."""


class Launcher:
    """Ends the first, second, ... cell of each launch as it is told to, and counts launches."""

    def __init__(self, *ends: Callable[[Cell], None]) -> None:
        self.ends, self.launches = ends, 0
        self.swept: list[tuple[str, ...]] = []

    def __call__(self, cells: Sequence[Cell]) -> None:
        self.launches += 1
        self.swept += [cell.swept for cell in cells]
        for end, cell in zip(self.ends, cells, strict=False):
            end(cell)


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., int]:
    """Runs a study of the toy in a folder of the test's own, its cells ended by a `Launcher`; the exit status."""
    places = [f"paths.outputs={tmp_path}", f"paths.store={tmp_path / 'store'}"]

    def run_it(launcher: Launcher, *overrides: str) -> int:
        return run_study(compose_cells(["experiments=toy", "arm=dpo_self", *STUDY, *places, *overrides]), launcher)

    return run_it


def test_only_cells_that_have_ended_are_told_and_the_others_are_asked_again(
    study: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Launcher(finish, fail, leave)
    assert study(first, "sweep.study.batch=3", "sweep.study.trials=9") == 2
    assert first.launches == 1, "what a launcher left as it was is no reason to ask for more"
    assert told(tmp_path) == [(DONE, 0.6), (FAILED, None), (OPEN, None)]
    assert "1 of 3 cells are done, 1 failed, 1 were not run; the same command" in capsys.readouterr().err
    again = Launcher(finish)
    assert study(again, "sweep.study.batch=3", "sweep.study.trials=3") == 0
    assert again.swept == first.swept[2:]
    assert told(tmp_path) == [(DONE, 0.6), (FAILED, None), (DONE, 0.6)]


@pytest.mark.parametrize(("on_error", "launches"), [("stop", 1), ("continue", 2)])
def test_a_failure_ends_a_study_under_stop_alone(
    study: Callable[..., int], tmp_path: Path, on_error: str, launches: int
) -> None:
    launcher = Launcher(finish, fail)
    assert study(launcher, "sweep.study.batch=2", "sweep.study.trials=4", f"sweep.on_error={on_error}") == 2
    assert launcher.launches == launches
    assert told(tmp_path) == [(DONE, 0.6), (FAILED, None)] * launches


def test_a_study_of_cells_that_fail_by_the_real_command(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    command = [*SWEEP, *FAILING, *STUDY, "sweep.study.batch=2"]
    stopped = run(tmp_path, *command, "sweep.study.trials=5", "sweep.on_error=stop", store=tmp_path / "store")
    assert (stopped.code, stopped.err.count("error: cell ")) == (2, 1), stopped.err
    assert "0 of 2 cells are done, 1 failed, 1 were not run" in stopped.err
    _, left = trials_in(tmp_path / "outputs")
    assert told(tmp_path / "outputs") == [(FAILED, None), (OPEN, None)]
    gone_on = run(tmp_path, *command, "sweep.study.trials=3", store=tmp_path / "store")
    assert (gone_on.code, gone_on.err.count("error: cell ")) == (2, 2), gone_on.err
    assert told(tmp_path / "outputs") == [(FAILED, None)] * 3
    ended = [trial.params for trial in trials_in(tmp_path / "outputs") if trial.user_attrs.get("failed")]
    assert ended[1] == left.params
    assert len({trial["selfplay.beta"] for trial in ended}) == 3
