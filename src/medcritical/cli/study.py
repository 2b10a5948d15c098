"""`sweep=study`: Optuna asks for cells, a launcher runs them, their accuracy is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from medcritical.cli.compose import Composed, compose_cells
from medcritical.cli.launch import announce, conclude, plan_cells
from medcritical.config.load import to_plain
from medcritical.errors import ConfigError
from medcritical.pipeline.run import run_identity
from medcritical.pipeline.study import STUDY_FILE, Study, Values, corners, final_accuracy
from medcritical.pipeline.sweep import Cell
from medcritical.reporting.summary import SUMMARY
from medcritical.store.hashing import hash_json
from medcritical.store.locks import hold

Launch = Callable[[Sequence[Cell]], None]


def run_study(composed: Sequence[Composed], launch: Launch) -> int:
    """Ask for cells, run and tell them until the study has its trials, and print the best; the exit status.

    Raises ConfigError for values to sweep over, or a range that a configuration does not allow.
    """
    base = composed[0]
    config = base.config.sweep.study
    assert config is not None
    if len(composed) > 1:
        raise ConfigError(f"sweep.study asks for the cells itself: give one value for {' '.join(base.swept)}.")
    ends = [_cells(base, [values]) for values in corners(config)]  # both right, before the first trial
    if base.config.plan:
        announce([cell for cells in ends for cell in cells])
        print(f"This is the study's first and last corner; it asks for {config.trials} cells from between them.")
        return 0
    folder = Path(base.config.paths.outputs).expanduser()
    with hold(folder / f".{STUDY_FILE}.lock"):
        study = Study(config, folder, _study_name(ends[0][0]))
        cells = _run_trials(base, study, launch)
        status = conclude(cells) if cells else 0
        _show_best(study)
    return status


def _run_trials(base: Composed, study: Study, launch: Launch) -> list[Cell]:
    """The cells of all trials that the study asks for now, launched and told of.

    A trial whose cell has not ended is not told of: the next launch asks for it again.
    """
    cells: list[Cell] = []
    while trials := study.ask():
        asked = _cells(base, [trial.params for trial in trials])
        announce(asked)
        launch(asked)
        cells += asked
        for trial, cell in zip(trials, asked, strict=True):
            if _has_ended(cell):
                study.tell(trial, _accuracy(cell))
        if _is_over(asked):
            break
    return cells


def _cells(base: Composed, asked: Sequence[Values]) -> list[Cell]:
    """One planned cell for each set of values."""
    cells = []
    for values in asked:
        swept = [f"{key}={value!r}" for key, value in values.items()]
        (composed,) = compose_cells([*base.overrides, *swept])
        cells += plan_cells([Composed(composed.overrides, tuple(swept), composed.config, composed.whole)])
    return cells


def _study_name(cell: Cell) -> str:
    """The hash of all that the study's cells share, and of where it looks: another question is another study.

    How many trials it is to have, and what cannot change a result, is no part of the question.
    """
    study = cell.run.config.sweep.study
    assert study is not None
    return hash_json([run_identity(cell.run.config), to_plain(study.space), study.seed])[:16]


def _has_ended(cell: Cell) -> bool:
    return cell.run.is_done or cell.run.folder.failure() is not None


def _is_over(asked: Sequence[Cell]) -> bool:
    """True after a failure under `sweep.on_error=stop`, and where a launcher left a cell without an end."""
    is_strict = asked[0].run.config.sweep.on_error == "stop"
    return not all(cell.run.is_done if is_strict else _has_ended(cell) for cell in asked)


def _accuracy(cell: Cell) -> float | None:
    summary = cell.run.folder.path / SUMMARY
    return final_accuracy(summary, next(iter(cell.run.config.arms))) if cell.run.is_done else None


def _show_best(study: Study) -> None:
    for values, accuracy in study.trials():
        shown = "failed" if accuracy is None else f"{accuracy:.1%}"
        print(f"{shown:>7}  {' '.join(f'{key}={value:.4g}' for key, value in values.items())}")
    best = study.best()
    if best is not None:
        print(f"best: {best[1]:.1%} with {' '.join(f'{key}={value!r}' for key, value in best[0].items())}")
