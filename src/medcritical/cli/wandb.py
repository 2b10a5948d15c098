"""`medcritical wandb`: any finished run as a W&B run, and the project's dashboards. The local files stay the truth."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from medcritical.cli.exits import CommandParser, run_command
from medcritical.cli.report import make_report, read_summaries

SHOWN = ("main", "grid", "table", "costs", "crossover", "pair_quality", "alarms")
"""Tables of the report at W&B."""
OUTPUTS = Path("outputs")
"""Where runs write by default: paths.outputs."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of `medcritical wandb`."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: int(arguments.run(arguments)))


def build_parser() -> argparse.ArgumentParser:
    """The command line of `medcritical wandb`."""
    parser = CommandParser(prog="medcritical wandb", description="Runs and dashboards at Weights & Biases.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    sync = commands.add_parser("sync", help="make a W&B run of every finished run, whether it had one or not")
    sync.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="run folder, or a folder above runs")
    sync.add_argument("--online", action="store_true", help="send it; else it is written beside the run")
    sync.add_argument("--project", help="W&B project (default: the run's own logger.project)")
    sync.add_argument("--entity", help="W&B entity (default: the run's own logger.entity)")
    sync.add_argument("--tag", metavar="TAG", action="append", dest="tags", help="W&B tag, once or more")
    sync.add_argument(
        "--samples", type=_count, metavar="N", help="corrections shown (default: the run's own logger.samples)"
    )
    sync.set_defaults(run=_sync)
    dashboard = commands.add_parser("dashboard", help="publish workspace and report, as code")
    dashboard.add_argument("place", metavar="ENTITY/PROJECT", help="where the runs are at W&B")
    dashboard.add_argument(
        "folders",
        metavar="DIR",
        nargs="*",
        type=Path,
        default=[OUTPUTS],
        help=f"the same runs here: arms, data, tables (default: {OUTPUTS})",
    )
    dashboard.add_argument("--baseline", metavar="ARM", help="arm that differences are taken to (default: sft)")
    dashboard.add_argument("--json", action="store_true", help="print what would be sent; needs no network")
    dashboard.set_defaults(run=_dashboard)
    return parser


def _count(text: str) -> int:
    """A number that counts something. Raises ValueError for a negative one, which argparse reports."""
    if (count := int(text)) < 0:
        raise ValueError(f"{count} is negative")
    return count


def _sync(arguments: argparse.Namespace) -> int:
    from medcritical.config.choices import WandbMode
    from medcritical.pipeline.tracking import export_folders

    export_folders(
        list(read_summaries(arguments.folders)),
        mode=WandbMode.online if arguments.online else WandbMode.offline,
        project=arguments.project,
        entity=arguments.entity,
        tags=arguments.tags,
        samples=arguments.samples,
    )
    return 0


def _dashboard(arguments: argparse.Namespace) -> int:
    """Publish the dashboards and print their addresses, or print their JSON."""
    from medcritical.reporting.dashboard import (
        make_document,
        make_sections,
        make_workspace,
        parse_place,
        publish,
        to_json,
    )
    from medcritical.reporting.paper import HEADINGS

    place = parse_place(arguments.place)
    paper = make_report(arguments.folders, arguments.baseline)
    sections = make_sections(paper.results)
    tables = {HEADINGS[name]: paper.tables[name].table for name in SHOWN if name in paper.tables}
    workspace, report = make_workspace(place, sections), make_document(place, sections, tables)
    print(to_json(workspace, report) if arguments.json else "\n".join(publish(workspace, report)))
    return 0
