"""`medcritical export`: the model of a run or an artefact as a folder of its own, for any program that loads such."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcritical.cli.exits import CommandParser, run_command

if TYPE_CHECKING:
    from medcritical.modeling.record import Weights
    from medcritical.reporting.summary import Summary

CARD = "README.md"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of `medcritical export`."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: export(arguments))


def build_parser() -> CommandParser:
    """The command line of `medcritical export`."""
    parser = CommandParser(prog="medcritical export", description="The trained model as a folder of its own.")
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="run folder, or the store's folder of a trained checkpoint"
    )
    parser.add_argument("--to", metavar="DIR", type=Path, required=True, help="new folder for the model")
    parser.add_argument("--arm", help="run folder: arm of the checkpoint; needed where there are several")
    parser.add_argument("--iteration", type=int, help="run folder: iteration of that arm (default: its last)")
    parser.add_argument(
        "--merge", action="store_true", help="LoRA: the whole model with the adapter merged in, not the adapter"
    )
    parser.add_argument("--card", action="store_true", help=f"also a model card ({CARD}): arm, data, scores, licences")
    return parser


def export(arguments: argparse.Namespace) -> int:
    """Write the model into `arguments.to`, whole or not at all; 0.

    Raises:
        DataError: there is no such checkpoint, or it is not clear which one is meant.
        ModelError: the checkpoint has no trained model of its own, its base is gone, or merging it fails.
        ArtefactError: the folder exists already, or cannot be written.
    """
    from medcritical.errors import ArtefactError, ModelError
    from medcritical.modeling.record import MODEL_FOLDER, RECORD_FILE, find_weights, read_checkpoint
    from medcritical.reporting.card import write_card
    from medcritical.store.jsonl import readable_write_errors

    folder: Path = arguments.run
    scored: Summary | None = None
    if not (folder / RECORD_FILE).is_file():
        folder, scored = find_checkpoint(arguments.run, arguments.arm, arguments.iteration)
    checkpoint = read_checkpoint(folder)
    if checkpoint.base is None and checkpoint.model != MODEL_FOLDER:
        raise ModelError(f"{folder} holds no model: it points to {checkpoint.model}, which is untrained.")
    if arguments.to.exists():
        raise ArtefactError(f"{arguments.to} exists already: give --to a new folder.")
    partial, weights = arguments.to.with_name(f".{arguments.to.name}.partial"), find_weights(folder)
    is_adapter = checkpoint.adapter is not None and not arguments.merge
    with readable_write_errors(arguments.to):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _write(folder, weights, partial, is_adapter=is_adapter)
            if arguments.card:
                write_card(partial / CARD, folder, scored, is_adapter=is_adapter)
            partial.rename(arguments.to)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    what = "adapter" if is_adapter else "model"
    over = f", over {weights.model}" if is_adapter and weights.adapters else ""
    print(f"{arguments.to}: {what} of {folder}{over}")
    return 0


def _write(checkpoint: Path, weights: Weights, folder: Path, *, is_adapter: bool) -> None:
    """The checkpoint's model or adapter as `folder`; only a merge loads a model."""
    from medcritical.modeling.adapter_files import write_adapter
    from medcritical.modeling.record import ADAPTER_FOLDER

    if not weights.adapters:  # whole, or of a version that merged every adapter on the disk
        source = checkpoint / ADAPTER_FOLDER if is_adapter else Path(weights.model)
        shutil.copytree(source, folder, copy_function=shutil.copyfile)  # with the modes of new files
    elif is_adapter:
        write_adapter(weights, folder)
    else:
        from medcritical.modeling.checkpoint import write_merged

        write_merged(checkpoint, folder)


def find_checkpoint(run: Path, arm: str | None, iteration: int | None) -> tuple[Path, Summary]:
    """The checkpoint's folder in the store, and the run's summary with its row alone: of the only arm after stage 1, where there
    is one.

    Raises DataError naming what there is where nothing or several fit.
    """
    from msgspec.structs import replace

    from medcritical.errors import DataError
    from medcritical.reporting.summary import STAGE_1, SUMMARY, read_summary

    if not run.is_dir():
        raise DataError(f"there is no folder {run}; give the output folder of a run, or a checkpoint's in the store.")
    if not (run / SUMMARY).is_file():
        below = [str(path.parent) for path in sorted(run.glob(f"**/{SUMMARY}"))]
        named = (
            f"give one of the runs below it: {', '.join(below)}"
            if below
            else "it is no finished run, and none is below it"
        )
        raise DataError(f"{run} has no {SUMMARY}: {named}.")
    summary = read_summary(run / SUMMARY)
    trained = [row for row in summary.rows if row.stage != "base"]
    arms = list(dict.fromkeys(row.arm for row in trained))
    after = [name for name in arms if name != STAGE_1] or arms
    if arm is None and len(after) > 1:
        raise DataError(f"{run} has several arms: choose one with --arm, of {', '.join(arms)}.")
    of_arm = [row for row in trained if row.arm == (arm or after[0])]
    if not of_arm:
        raise DataError(f"{run} has no arm {arm!r}: --arm is one of {', '.join(arms)}.")
    last = max(row.iteration for row in of_arm)
    chosen = [row for row in of_arm if row.iteration == (last if iteration is None else iteration)]
    if not chosen:
        raise DataError(f"arm {of_arm[0].arm} has no iteration {iteration}: --iteration is at most {last}.")
    checkpoint = run / summary.store / summary.lineage[chosen[0].artefact][-1]
    return checkpoint, replace(summary, rows=tuple(chosen))
