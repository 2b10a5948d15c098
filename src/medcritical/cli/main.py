"""`medcritical`: the Hydra application. Composes, checks, plans and runs; never imports torch."""

from __future__ import annotations

import importlib.metadata
import sys

from omegaconf import DictConfig

from medcritical.cli.compose import check_command, configuration_folder
from medcritical.cli.exits import run_command

# Hydra answers these itself; so does a completion query.
_HYDRA_ANSWERS = ("--help", "-h", "--hydra-help", "--shell-completion", "-sc")
_HELP = ("--help", "-h")


def main() -> None:
    """Entry point of the `medcritical` command."""
    sys.exit(run_command(_main))


def _main() -> int:
    arguments = sys.argv[1:]
    if "--version" in arguments:
        print(f"medcritical {importlib.metadata.version('medcritical')}")
        return 0
    if not any(argument.split("=")[0] in _HYDRA_ANSWERS for argument in arguments):
        command = check_command(arguments)
        if command.is_sweep and command.cells:
            from medcritical.cli.launch import run_sweep

            return run_sweep(command.cells)
    try:
        _hydra_application()
    finally:  # Hydra exits after its help
        if any(argument in _HELP for argument in arguments):
            print("\n".join(_named_runs()))
    return 0


def _named_runs() -> list[str]:
    """A line each of the names in experiments/ and sweeps/, which Hydra's own help leaves out."""
    root = configuration_folder().parent
    return [
        f"{group}: {', '.join(sorted(path.stem for path in (root / group).glob('*.yaml')))}"
        for group in ("experiments", "sweeps")
    ]


def _hydra_application() -> None:
    import hydra

    hydra.main(version_base="1.3", config_path=str(configuration_folder()), config_name="config")(_application)()


def _application(composed: DictConfig) -> None:
    """The run that is no sweep, as Hydra calls it."""
    status = run_command(lambda: _run(composed))
    if status != 0:
        sys.exit(status)


def _run(composed: DictConfig) -> int:
    from medcritical.config.load import load_config
    from medcritical.pipeline.run import run

    summary = run(load_config(composed))
    if summary is not None:
        from medcritical.reporting.terminal import print_run

        print_run(summary.parent)
    return 0
