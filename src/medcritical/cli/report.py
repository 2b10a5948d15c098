"""`medcritical-report`: tables and figure of any number of runs, pooled over seeds, from summaries and predictions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcritical.cli.exits import run_command

if TYPE_CHECKING:
    from medcritical.reporting.pooling import Checkpoint, Difference
    from medcritical.reporting.summary import SummaryRow

BASELINE = "sft"
RESAMPLES = 10_000


def main() -> None:
    """Entry point of the `medcritical-report` command."""
    arguments = build_parser().parse_args()
    sys.exit(run_command(lambda: report(arguments.folders, arguments.baseline, arguments.json, arguments.to)))


def build_parser() -> argparse.ArgumentParser:
    """The command line of `medcritical-report`."""
    parser = argparse.ArgumentParser(prog="medcritical-report", description="Tables and figure of finished runs.")
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="run folder, or a folder above runs")
    parser.add_argument("--baseline", metavar="ARM", help=f"arm that differences are taken to (default: {BASELINE})")
    parser.add_argument("--json", action="store_true", help="print rows and differences as JSON instead of tables")
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="write table.md, table.csv, costs.md, accuracy.png")
    return parser


def report(folders: Sequence[Path], baseline: str | None, as_json: bool, to: Path | None) -> int:
    """Print the report of all runs under the folders and write it `to` a folder if given; 0.

    Raises DataError when a folder or summary is missing, a summary is damaged, or `baseline` names no arm there.
    """
    from medcritical.reporting.pooling import pool_seeds, unique_rows
    from medcritical.reporting.tables import cost_table, result_table
    from medcritical.reporting.terminal import print_table
    from medcritical.stages.compare import measure_differences, write_report

    rows, predictions = read_runs(folders)
    rows = unique_rows(rows)
    arm = choose_arm(rows, baseline)
    differences = measure_differences(pool_seeds(rows), arm, predictions, RESAMPLES)
    results, costs = result_table(rows, differences, arm), cost_table(rows)
    if as_json:
        print(to_json(rows, differences, arm))
    else:
        print_table(results, "Results")
        print_table(costs, "Costs")
    if to is not None:
        write_report(to, rows, results, costs)
    return 0


def read_runs(folders: Sequence[Path]) -> tuple[list[SummaryRow], dict[str, Path]]:
    """All rows under the folders, and where the predictions of each artefact lie. Raises DataError for none."""
    from medcritical.reporting.summary import read_summary

    rows: list[SummaryRow] = []
    predictions: dict[str, Path] = {}
    for path in find_summaries(folders):
        summary = read_summary(path)
        rows += summary.rows
        for artefact in summary.predictions:
            place = summary.predictions_path(path.parent, artefact)
            if place is not None and place.is_file():
                predictions[artefact] = place
    return rows, predictions


def find_summaries(folders: Sequence[Path]) -> list[Path]:
    """Every summary.json in or below the folders, once. Raises DataError for a folder that is missing or has none."""
    from medcritical.errors import DataError
    from medcritical.reporting.summary import SUMMARY

    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}; give the output folder of a run, or one above several.")
        paths = sorted(folder.rglob(SUMMARY))
        if not paths:
            raise DataError(f"no {SUMMARY} in {folder} or below it; a run writes it when it ends.")
        for path in paths:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def choose_arm(rows: Sequence[SummaryRow], baseline: str | None) -> str | None:
    """The baseline arm: the one asked for, else `sft` where it is among the rows, else none.

    Raises DataError when the one asked for is not there.
    """
    from medcritical.errors import DataError

    arms = list(dict.fromkeys(row.arm for row in rows))
    if baseline is None:
        return BASELINE if BASELINE in arms else None
    if baseline not in arms:
        raise DataError(f"no arm {baseline!r} in these runs; --baseline is one of {', '.join(arms)}.")
    return baseline


def to_json(rows: Sequence[SummaryRow], differences: Mapping[Checkpoint, Difference], baseline: str | None) -> str:
    """Rows as in summary.json, and differences to the baseline arm as shares of questions."""
    import msgspec

    found = [
        {**msgspec.to_builtins(checkpoint), "baseline": baseline, **msgspec.to_builtins(difference)}
        for checkpoint, difference in differences.items()
    ]
    return msgspec.json.format(msgspec.json.encode({"rows": rows, "differences": found}), indent=2).decode()
