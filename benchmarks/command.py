"""The command line of every script of cases: all of them, some of them, or the peak memory of one side."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from measure import Case, Contest, compare, measure_peaks, prepare_torch, report_peak
from medcritical.errors import MedCriticalError
from results import record
from workload import Unavailable

Contests = Mapping[str, Callable[[], Contest]]
"""What makes each case, by the word that chooses it. A maker raises Unavailable where its case cannot be measured."""


def run_contests(
    script: str, description: str, contests: Contests, others: Mapping[str, Callable[[int], Case]] | None = None
) -> None:
    """Do what the command line of `script` asks for. `others` are cases of another shape: turns -> what was measured."""
    measured = {name: _measure(Path(script), name, make) for name, make in contests.items()} | dict(others or {})
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="measured turns of each side (default 3)")
    parser.add_argument("--only", nargs="+", choices=sorted(measured), metavar="CASE", help=f"{', '.join(measured)}")
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    prepare_torch()
    try:
        if options.peak:
            name, side = options.peak
            report_peak(contests[name](), side)
            return
        for name in options.only or measured:
            _run_case(name, measured[name], options.turns)
    except MedCriticalError as error:
        sys.exit(str(error))


def _run_case(name: str, measure: Callable[[int], Case], turns: int) -> None:
    try:
        record([measure(turns)])
    except Unavailable as reason:
        print(f"{name} was not measured: {reason}.", file=sys.stderr)


def _measure(script: Path, name: str, make: Callable[[], Contest]) -> Callable[[int], Case]:
    def measure(turns: int) -> Case:
        contest = make()
        peaks = measure_peaks(script, name) if contest.measures_memory else None
        return compare(contest, turns=turns, peaks=peaks)

    return measure
