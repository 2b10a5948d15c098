"""`medcritical`: the Hydra application. Composes, checks, plans and runs; never imports torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from medcritical.cli.compose import check_command, configuration_folder
from medcritical.cli.exits import run_command
from medcritical.config.schema import Config
from medcritical.store.jsonl import write_atomically

# Hydra answers these itself; so does a completion query.
_HYDRA_ANSWERS = ("--help", "-h", "--hydra-help", "--version", "--shell-completion", "-sc")


def main() -> None:
    """Entry point of the `medcritical` command."""
    sys.exit(run_command(_main))


def _main() -> int:
    arguments = sys.argv[1:]
    if not any(argument.split("=")[0] in _HYDRA_ANSWERS for argument in arguments):
        cells = check_command(arguments)
        if len(cells) > 1:
            _claim_outputs(cells)
    _hydra_application()
    return 0


def _claim_outputs(cells: Sequence[Config]) -> None:
    """Write the file that Hydra opens a sweep with, for Hydra ends with a traceback where it cannot."""
    for outputs in {cell.paths.outputs for cell in cells}:
        write_atomically(Path(outputs) / "multirun.yaml", b"")


def _hydra_application() -> None:
    import hydra

    hydra.main(version_base="1.3", config_path=str(configuration_folder()), config_name="config")(_application)()


def _application(composed: DictConfig) -> None:
    """One cell, as Hydra calls it."""
    status = run_command(lambda: _run(composed))
    if status != 0:
        sys.exit(status)


def _run(composed: DictConfig) -> int:
    from medcritical.config.load import load_config
    from medcritical.pipeline.run import run

    summary = run(load_config(composed))
    if summary is not None:
        _show_results(summary.parent)
        print(summary)
    return 0


def _show_results(folder: Path) -> None:
    from medcritical.reporting.contents import PRINTED

    for name in PRINTED:
        path = folder / f"{name}.md"
        if path.is_file():
            print(path.read_text(encoding="utf-8"))
    for figure in sorted(folder.glob("*.png")):
        print(f"figure: {figure}")
