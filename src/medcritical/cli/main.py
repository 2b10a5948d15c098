"""`medcritical`: tools by their name, everything else is the Hydra application.

A first word without `=` is a tool, `medcritical report outputs/`. The application composes, checks, plans and runs. Neither
imports torch.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medcritical.cli.exits import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

TOOLS = {
    "report": "tables and figures of finished runs and sweeps",
    "sweep": "which cells of a sweep are done, running, failed, waiting",
    "store": "what the store holds, whether it is sound, and what nobody needs any more",
    "data": "formats, checks and downloads of data sets",
    "export": "a trained model as a folder of its own",
    "wandb": "runs and dashboards at Weights & Biases",
}

# Hydra answers these itself; so does a completion query.
_HYDRA_ANSWERS = ("--help", "-h", "--hydra-help", "--shell-completion", "-sc")
_HELP = ("--help", "-h")


def main() -> None:
    """Entry point of the `medcritical` command."""
    first, *others = sys.argv[1:] or [""]
    if first and not first.startswith("-") and "=" not in first:
        sys.exit(_run_tool(first, others))
    sys.exit(run_command(_main))


def _run_tool(name: str, arguments: Sequence[str]) -> int:
    if name == "help":
        print("\n".join(f"medcritical {tool:<8} {what}" for tool, what in TOOLS.items()))
        print("medcritical KEY=VALUE ...  a run; medcritical --help lists its groups and keys")
        return 0
    if name not in TOOLS:
        near = difflib.get_close_matches(name, TOOLS, n=1)
        hint = f"did you mean `medcritical {near[0]}`?" if near else "`medcritical help` lists the tools."
        print(f"error: {name} is neither a tool nor an override (KEY=VALUE): {hint}", file=sys.stderr)
        return 2
    status: int = importlib.import_module(f"medcritical.cli.{name}").main(arguments)
    return status


def _main() -> int:
    from medcritical.cli.compose import check_command

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
    from medcritical.cli.compose import configuration_folder

    root = configuration_folder().parent
    return [
        f"{group}: {', '.join(sorted(path.stem for path in (root / group).glob('*.yaml')))}"
        for group in ("experiments", "sweeps")
    ]


def _hydra_application() -> None:
    import hydra

    from medcritical.cli.compose import configuration_folder

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
