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
    from medcritical.reporting.summary import Results, SummaryRow

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
    parser.add_argument("--json", action="store_true", help="print what the tables are made from as JSON")
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="write all tables (.md, .csv) and accuracy.png")
    return parser


def report(folders: Sequence[Path], baseline: str | None, as_json: bool, to: Path | None) -> int:
    """Print the report of all runs under the folders and write it `to` a folder if given; 0.

    Raises DataError when a folder or summary is missing, a summary is damaged, or `baseline` names no arm there.
    """
    from medcritical.reporting.contents import PRINTED, TITLES, make_tables
    from medcritical.reporting.pooling import pool_seeds
    from medcritical.reporting.terminal import print_table
    from medcritical.stages.compare import measure_differences, write_report

    results = read_runs(folders)
    arm = choose_arm(results.rows, baseline)
    differences = measure_differences(pool_seeds(results.rows), arm, results.predictions, RESAMPLES)
    tables = make_tables(results, differences, arm)
    if as_json:
        print(to_json(results, differences, arm))
    else:
        for name in PRINTED:
            if name in tables:
                print_table(tables[name], TITLES[name])
    if to is not None:
        write_report(to, results.rows, tables)
    return 0


def read_runs(folders: Sequence[Path]) -> Results:
    """What all runs under the folders say, rows that they share once. Raises DataError for none."""
    from medcritical.reporting.pooling import unique_rows
    from medcritical.reporting.summary import gather, read_summary

    results = gather((path.parent, read_summary(path)) for path in find_summaries(folders))
    results.rows = unique_rows(results.rows)
    return results


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


def to_json(results: Results, differences: Mapping[Checkpoint, Difference], baseline: str | None) -> str:
    """Rows, scores, lineage and ledger as in summary.json, and differences to the baseline arm as shares of questions."""
    import msgspec

    found = [
        {**msgspec.to_builtins(checkpoint), "baseline": baseline, **msgspec.to_builtins(difference)}
        for checkpoint, difference in differences.items()
    ]
    content = {
        "rows": results.rows,
        "differences": found,
        "scores": results.scores,
        "lineage": results.lineage,
        "ledger": results.ledger,
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
