"""Sweeps: every cell checked and planned, then handed to a Hydra launcher; what fails is said at once.

Hydra's launchers start the cells; its sweeper is not used, for it starts the first cell before it has looked at the last.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcritical.cli.compose import Composed, hydra_initialized
from medcritical.cli.exits import end_in_good_order
from medcritical.cli.watch_cells import CellWatcher
from medcritical.config.arms import timed_arms
from medcritical.config.choices import WandbMode
from medcritical.config.schema import Config
from medcritical.errors import ConfigError, MedCriticalError
from medcritical.pipeline.run import execute_run, failure_of, needed_by, plan_run, read_pace
from medcritical.pipeline.run_folder import RunFolder
from medcritical.pipeline.sweep import Cell, describe_sweep, distinct, in_launching_order, prepare_cells
from medcritical.pipeline.sweep_status import cell_state

if TYPE_CHECKING:
    from omegaconf import DictConfig

_BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


class LauncherFailed(MedCriticalError):
    """A launcher that could not start cells, or lost one."""

    exit_code = 1


def run_sweep(composed: Sequence[Composed]) -> int:
    """Run all cells of a sweep, or with `plan: true` say what that would do; the exit status.

    It is 0 when every cell is done and that of the first failed cell otherwise. Raises ConfigError for a sweeper of
    Hydra's other than its basic one, and for a launcher that would run an arm that is timed beside other cells.
    """
    whole = composed[0].whole
    if whole.hydra.sweeper.get("_target_") != _BASIC_SWEEPER:
        raise ConfigError(
            "hydra/sweeper is not for this program: name values after -m, a file in sweeps/, or sweep=study."
        )
    _check_timed(composed)
    config: Config = composed[0].config
    if config.sweep.study is not None:
        from medcritical.cli.study import run_study

        return run_study(composed, functools.partial(launch, whole))
    cells = plan_cells(composed)
    if not announce(cells):
        return 0
    launch(whole, cells)
    return conclude(cells)


def _check_timed(composed: Sequence[Composed]) -> None:
    """Raises ConfigError where cells may run side by side on one machine while the seconds of one are counted.

    Only the basic launcher runs one after the other wherever it is: two jobs of a cluster may get one machine.
    """
    launcher = composed[0].whole.hydra.runtime.choices["hydra/launcher"]
    timed = [arm for one in composed for arm in timed_arms(one.config)]
    if timed and launcher != "basic":
        raise ConfigError(
            f"arms.{timed[0]} is matched by seconds, and hydra/launcher={launcher} may run other cells on the same machine "
            "while they are counted: set hydra/launcher=basic."
        )


def plan_cells(composed: Sequence[Composed]) -> list[Cell]:
    """The cells with their plans, each configuration once. Raises DataError for a file that is missing."""
    cells = [Cell(one.overrides, one.swept, plan_run(one.config)) for one in composed]
    return distinct(cells)


def announce(cells: Sequence[Cell]) -> bool:
    """Print the plan of the whole sweep; False where that is all that was asked for. Folders are made otherwise."""
    pace = read_pace(cells[0].run.store)
    is_plan = cells[0].run.config.plan
    print(describe_sweep(cells, pace), file=sys.stdout if is_plan else sys.stderr, flush=True)
    if not is_plan:
        prepare_cells(cells, pace)
    return not is_plan


def launch(whole: DictConfig, cells: Sequence[Cell]) -> None:
    """Have a launcher run the cells that are not done, `whole` saying which launcher; returns when all have ended.

    Done cells that lack the W&B run which `logger` asks for get it first. A failed cell is told of at once and ends
    nothing here. Raises LauncherFailed when the launcher itself fails, ConfigError for a name that W&B refuses.
    """
    settings = cells[0].run.config.sweep
    _export_done(cells)
    waiting = [cell for cell in cells if not cell.run.is_done]
    if settings.failed == "keep":
        waiting = [cell for cell in waiting if cell.run.folder.failure() is None]
    for cell in waiting:
        cell.run.folder.forgive()
    if not waiting:
        return
    ordered = in_launching_order(waiting)
    folders = [cell.run.folder.path for cell in ordered] if settings.on_error == "stop" else []
    with needed_by([cell.run for cell in cells]), CellWatcher(ordered):  # cells that wait need theirs too
        _hand_over(whole, [_task_overrides(cell) for cell in ordered], functools.partial(run_cell, stopped_by=folders))


def _export_done(cells: Sequence[Cell]) -> None:
    """Make the W&B runs of cells that are done without: their `logger` was off, or they were killed before the export."""
    mode = cells[0].run.config.logger.wandb
    folders = [cell.run.folder.path for cell in cells if cell.run.is_done and not cell.run.folder.is_exported()]
    if folders and mode is not WandbMode.disabled:
        from medcritical.pipeline.tracking import export_folders

        export_folders(folders, mode=mode)


def _hand_over(whole: DictConfig, overrides: list[list[str]], task: Callable[[DictConfig], None]) -> None:
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    with hydra_initialized():
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks(whole))
        try:
            launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=whole)
            for returned in launcher.launch(overrides, initial_job_idx=0):
                _ = returned.return_value  # raises what a cell could not write down as its failure
        except MedCriticalError:
            raise
        except Exception as error:  # each launcher has errors of its own
            name = whole.hydra.runtime.choices["hydra/launcher"]
            raise LauncherFailed(f"hydra/launcher={name} ended with {type(error).__name__}: {error}") from error


def _task_overrides(cell: Cell) -> list[str]:
    """The overrides of a cell without Hydra's own, which a launcher takes from the whole sweep's configuration.

    Hub models are given by their commit: a compute node need not reach the hub, and a branch may move meanwhile.
    """
    own = [override for override in cell.overrides if not override.lstrip("+~").startswith(("hydra.", "hydra/"))]
    return own + [f"{model.key}='{model.commit}'" for model in cell.run.hub_models if model.commit is not None]


def run_cell(composed: DictConfig, *, stopped_by: Sequence[Path]) -> None:
    """One cell, as a launcher calls it, in whatever process; how it fails is written into its folder.

    It does not start when a cell of `stopped_by` has failed.
    """
    from medcritical.config.load import load_config

    if any(RunFolder(path).failure() is not None for path in stopped_by):
        return
    end_in_good_order()
    run = plan_run(load_config(composed))
    try:
        execute_run(run)
    except Exception as error:
        run.folder.fail(failure_of(error, run))


def conclude(cells: Sequence[Cell]) -> int:
    """Print where the results of the cells are and what is left; the exit status."""
    states = [cell_state(cell.run.folder, cell.run.folder.planned()) for cell in cells]
    for cell, state in zip(cells, states, strict=True):
        print(f"{state:<8}{cell}")
    failures = [cell.run.folder.failure() for cell, state in zip(cells, states, strict=True) if state == "failed"]
    left = sum(state != "done" for state in states)
    if not left:
        return 0
    print(
        f"{len(cells) - left} of {len(cells)} cells are done, {len(failures)} failed, {left - len(failures)} were not run; "
        "the same command goes on from here.",
        file=sys.stderr,
    )
    return next((failure.exit_code for failure in failures if failure is not None), 1)
