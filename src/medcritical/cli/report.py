"""`medcritical report`: tables and figure of any number of runs, pooled over seeds, from summaries and predictions."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentTypeError
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcritical.cli.exits import CommandParser, run_command

if TYPE_CHECKING:
    from medcritical.reporting.paper import Paper
    from medcritical.reporting.summary import Results, Summary, SummaryRow

BASELINE = "sft"
SHOWN = ("seed", "selfplay.beta", "selfplay.iterations", "arm")
"""Swept keys that lines and columns of the tables tell apart."""
ALSO_PRINTED = ("grid", "crossover", "alarms")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of `medcritical report`."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.power:
        if arguments.json or arguments.to is not None:
            parser.error("--power prints one table: leave out --json and --to")
        return run_command(lambda: plan(arguments.folders, arguments.baseline, arguments.points))
    if arguments.points is not None:
        parser.error("--points is of --power")
    return run_command(lambda: report(arguments.folders, arguments.baseline, arguments.json, arguments.to))


def build_parser() -> CommandParser:
    """The command line of `medcritical report`."""
    parser = CommandParser(prog="medcritical report", description="Tables and figures of finished runs and sweeps.")
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="run folder, or a folder above runs")
    parser.add_argument(
        "--baseline",
        metavar="ARM",
        help=f"arm that differences are taken to, RUN:ARM where several runs have it (default: {BASELINE})",
    )
    parser.add_argument("--json", action="store_true", help="print all tables and what they are made from as JSON")
    parser.add_argument(
        "--to", metavar="FOLDER", type=Path, help="write report.html, tables (md, csv, tex) and figures"
    )
    parser.add_argument(
        "--power", action="store_true", help="print how many seeds and questions find a difference, and nothing else"
    )
    parser.add_argument(
        "--points",
        metavar="D",
        type=_points,
        help="difference that --power plans for, percentage points (default: several)",
    )
    return parser


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 100:
        raise ArgumentTypeError(f"{text} is no number of points between 0 and 100")
    return value


def plan(folders: Sequence[Path], baseline: str | None, points: float | None) -> int:
    """Print how many seeds and questions find a difference of `points` between each arm and the baseline; 0.

    Raises DataError as `report`, and where no arm has two seeds.
    """
    from medcritical.reporting.measuring import PredictionReader
    from medcritical.reporting.planning import POINTS, power_table
    from medcritical.reporting.pooling import pool_seeds
    from medcritical.reporting.terminal import print_table

    results = read_runs(folders)
    reader, arm = PredictionReader(results.predictions), choose_arm(results.rows, baseline)
    wanted = POINTS if points is None else (points,)
    try:
        table = power_table(pool_seeds(results.rows), arm, reader, one_confidence(results), wanted)
    finally:
        reader.warn_of_missing()  # which may be why there is no table
    print_table(table, "Seeds and questions that a difference takes")
    return 0


def report(folders: Sequence[Path], baseline: str | None, as_json: bool, to: Path | None) -> int:
    """Print the report of all runs under the folders and write it `to` a folder if given; 0.

    Raises DataError when a folder or summary is missing, a summary is damaged, or `baseline` names no arm there.
    """
    from medcritical.reporting.contents import PRINTED
    from medcritical.reporting.paper import HEADINGS, to_json, write_paper
    from medcritical.reporting.terminal import print_table

    if to is not None:
        _make_folder(to)  # before tables take their time
    paper = make_report(folders, baseline)
    if as_json:
        print(to_json(paper))
    else:
        for name in (*ALSO_PRINTED, *PRINTED):
            if name in paper.tables:
                print_table(paper.tables[name].table, HEADINGS[name])
    if to is not None:
        write_paper(paper, to)
        print(f"report: {to / 'report.html'}", file=sys.stderr)
    return 0


def _make_folder(to: Path) -> None:
    from medcritical.errors import DataError

    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--to {to} cannot be made: {error.strerror}; name another folder.") from error


def make_report(folders: Sequence[Path], baseline: str | None) -> Paper:
    """The report of all runs under the folders. Raises as `report`."""
    from medcritical.reporting.measuring import PredictionReader, measure
    from medcritical.reporting.paper import make_paper

    results = read_runs(folders)
    reader, arm = PredictionReader(results.predictions), choose_arm(results.rows, baseline)
    measured = measure(results, arm, one_confidence(results), reader, missing_cells(folders))
    reader.warn_of_missing()
    _warn_of_lost_trainings(results)
    _warn_of_outdated(folders)
    if measured.missing:
        print(f"warning: no result yet of {', '.join(measured.missing)}", file=sys.stderr)
    return make_paper(results, measured)


def one_confidence(results: Results) -> float:
    """The level of all intervals of a report: the highest that a run asks for, with a warning where they differ.

    Nothing but the tables depends on it, so runs of different levels need no refusal.
    """
    levels = sorted(results.confidences)
    if len(levels) > 1:
        told = ", ".join(f"{level:g}" for level in levels)
        print(
            f"warning: evaluation.confidence differs between runs ({told}): all intervals are at {levels[-1]:g}",
            file=sys.stderr,
        )
    return levels[-1]


def _warn_of_lost_trainings(results: Results) -> None:
    """Say once that curves and pair quality lack what the store no longer has."""
    checkpoints = {made_of[-1] for made_of in results.lineage.values() if made_of}
    lost = sorted(name for name in checkpoints - set(results.folders) if name.split("/")[0] in ("sft", "dpo", "gate"))
    if lost:
        print(
            f"warning: curves and pair quality leave out what the store no longer has: {', '.join(lost)}",
            file=sys.stderr,
        )


def _warn_of_outdated(folders: Sequence[Path]) -> None:
    """Say of which runs the results are those of an earlier plan: of data that have changed since."""
    from medcritical.pipeline.run_folder import run_folders

    outdated = [str(run.path) for folder in folders for run in run_folders(folder) if run.is_outdated()]
    if outdated:
        print(
            f"warning: results of an earlier plan, made of other data: {', '.join(outdated)}; start the command again.",
            file=sys.stderr,
        )


def read_runs(folders: Sequence[Path]) -> Results:
    """What all runs under the folders say, rows that they share once. Raises DataError for none.

    Cells of a sweep over a key that no column shows are runs of their own, named by its values.
    """
    from medcritical.reporting.pooling import ambiguous_runs, unique_rows
    from medcritical.reporting.summary import gather

    summaries = read_summaries(folders)
    ambiguous = ambiguous_runs(row for summary in summaries.values() for row in summary.rows)
    keys = list(dict.fromkeys(key for folder in summaries for key in swept_values(folder)))
    results = gather(
        (folder, named_apart(summary, ambiguous, values_of(folder, keys))) for folder, summary in summaries.items()
    )
    results.rows = unique_rows(results.rows)
    return results


def read_summaries(folders: Sequence[Path]) -> dict[Path, Summary]:
    """The summaries of all runs under the folders, by run folder. Those of older versions are left out, with one warning.

    Raises DataError as `find_summaries`, and where none is left.
    """
    from medcritical.errors import DataError
    from medcritical.reporting.summary import OlderSummaryError, read_summary

    found: dict[Path, Summary] = {}
    older = []
    for path in find_summaries(folders):
        try:
            found[path.parent] = read_summary(path)
        except OlderSummaryError:
            older.append(str(path.parent))
    told = f"an older version of medcritical wrote {', '.join(older)}"
    if not found:
        raise DataError(f"{told}, which this one does not read: run the experiments again, which makes new folders.")
    if older:
        print(f"warning: {told}, left out here: remove what is no longer needed", file=sys.stderr)
    return found


def named_apart(summary: Summary, ambiguous: Collection[str], values: Sequence[str]) -> Summary:
    """The summary, with values of swept keys in the name of a run that is ambiguous without them."""
    from msgspec.structs import replace

    rows = tuple(
        replace(row, run=" ".join([row.run, *values])) if row.run in ambiguous else row for row in summary.rows
    )
    return replace(summary, rows=rows)


def swept_values(folder: Path) -> dict[str, str]:
    """What a sweep set for this cell, less what tables show in columns; nothing for a run that is no cell."""
    from medcritical.pipeline.run_folder import PLAN, RunFolder

    swept = RunFolder(folder).planned().swept if (folder / PLAN).is_file() else []
    values = dict(override.lstrip("+").split("=", 1) for override in swept)
    return {key: value for key, value in values.items() if key not in SHOWN}


def values_of(folder: Path, keys: Sequence[str]) -> list[str]:
    """`key=value` of a run for keys that some sweep varies: as configured, else (the option of a group) as its sweep set it."""
    from medcritical.pipeline.run_folder import CONFIG
    from medcritical.store import read_json

    own = swept_values(folder)
    config = read_json(folder / CONFIG, dict[str, Any]) if (folder / CONFIG).is_file() else {}
    found = {key: _value_at(config, key) or own.get(key) for key in keys}
    return [f"{key}={value}" for key, value in found.items() if value]


def _value_at(config: Any, key: str) -> str:
    """A value as one would write it on the command line; empty for one that is not there or is no single value."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    if isinstance(config, bool):
        return str(config).lower()
    return "" if config is None or isinstance(config, dict | list) else str(config)


def missing_cells(folders: Sequence[Path]) -> list[str]:
    """The cells under the folders that were planned and have no result, with their state, one phrase each."""
    from medcritical.pipeline.run_folder import run_folders
    from medcritical.pipeline.sweep_status import cell_state
    from medcritical.reporting.summary import SUMMARY

    missing = [run for folder in folders for run in run_folders(folder) if not (run.path / SUMMARY).is_file()]
    return [f"{' '.join([run.path.name, *run.planned().swept])} ({cell_state(run, run.planned())})" for run in missing]


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
    """The baseline, ARM or RUN:ARM: the one asked for, else `sft` where it is among the rows, else none.

    Raises DataError when the one asked for is not there.
    """
    from medcritical.errors import DataError

    arms = list(dict.fromkeys(row.arm for row in rows))
    if baseline is None:
        return BASELINE if BASELINE in arms else None
    of_runs = list(dict.fromkeys(f"{row.run}:{row.arm}" for row in rows))
    if baseline not in (*arms, *of_runs):
        known = of_runs if ":" in baseline else arms
        raise DataError(f"no arm {baseline!r} in these runs; --baseline is one of {', '.join(known)}.")
    return baseline
