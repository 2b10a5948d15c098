"""`medcritical sweep`: how far the cells of a sweep are, from what they and the store hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcritical.cli.exits import CommandParser, run_command

if TYPE_CHECKING:
    from medcritical.pipeline.sweep_status import CellStatus, SweepStatus


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of `medcritical sweep`."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: status(arguments.folder, arguments.json))


def build_parser() -> CommandParser:
    """The command line of `medcritical sweep`."""
    parser = CommandParser(prog="medcritical sweep", description="How far the cells of a sweep are.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shown = commands.add_parser("status", help="done, running, failed and waiting cells; time left; stages executed")
    shown.add_argument(
        "folder", metavar="DIR", type=Path, help="folder of a sweep (its paths.outputs), or one run folder"
    )
    shown.add_argument("--json", action="store_true", help="print it as JSON")
    return parser


def status(folder: Path, as_json: bool) -> int:
    """Print the status of the cells below a folder; 0. Raises DataError where there is none."""
    import msgspec

    from medcritical.pipeline.sweep_status import read_status

    found = read_status(folder)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        print(describe_status(found))
    return 0


def describe_status(status: SweepStatus) -> str:
    """The status in lines: one per cell, then the totals."""
    from medcritical.pipeline.estimate import readable_seconds

    lines = [_cell_line(cell) for cell in status.cells]
    left = "no guess at the time" if status.seconds_left is None else f"about {readable_seconds(status.seconds_left)}"
    lines.append(
        f"{len(status.cells)} cells: {status.done} done, {status.running} running, {status.failed} failed, "
        f"{status.waiting} waiting; {left} left"
    )
    for title, counts in (("stages executed", status.stages_executed), ("stages missing", status.stages_missing)):
        lines.append(f"{title}: {', '.join(f'{stage} {count}' for stage, count in counts.items()) or 'none'}")
    return "\n".join(lines)


def _cell_line(cell: CellStatus) -> str:
    line = f"{cell.state:<8} {' '.join([cell.cell, *cell.swept])}  {cell.stages_done}/{cell.stages} stages"
    if cell.running:
        line += f"  now: {', '.join(cell.running)}"
    if cell.failure is not None:
        line += f"\n         {cell.failure.message}\n         log: {cell.failure.log}"
    return line
