"""Beta against iterations as mean +- standard deviation over seeds, and what the pairs were made of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from medcritical.reporting.pooling import Pool
from medcritical.reporting.sourced import Cell, SourcedTable, from_cells
from medcritical.reporting.tables import percent
from medcritical.reporting.trail import Iteration

# Heading, key of quality.json, and whether the value is a share.
QUALITY_COLUMNS = (
    ("pairs", "pairs", False),
    ("chosen alone", "chosen_alone", False),
    ("overlap %", "overlap", True),
    ("length gap (words)", "length_gap_words", False),
    ("duplicates", "duplicate_pairs", False),
    ("sound chosen %", "sound_chosen", True),
    ("malformed attempts", "malformed_attempts", False),
)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and standard deviation of shares in percent: 61.2 ± 1.3, of a single one 61.2 alone."""
    mean = percent(fmean(values)) or ""
    return mean if len(values) == 1 else f"{mean} ± {100 * stdev(values):.1f}"


def beta_grid(pools: Sequence[Pool]) -> SourcedTable:
    """One line per arm, data set and beta, a column per iteration: mean and standard deviation of accuracy over seeds.

    A cell with fewer seeds than the fullest one says how many it has. What was not run is missing. Arms without a beta have
    a line too, for they are what the others are read against; the checkpoint after stage 1 is column 0.
    """
    arms: dict[tuple[str, str, str, str, float | None], dict[int, Pool]] = {}
    for pool in pools:
        key = pool.checkpoint
        arms.setdefault((key.run, key.data, key.split, key.arm, key.beta), {})[key.iteration] = pool
    iterations = sorted({pool.checkpoint.iteration for pool in pools})
    most = max((len(pool.samples) for pool in pools), default=0)
    several_runs, several_data = len({key[0] for key in arms}) > 1, len({key[1:3] for key in arms}) > 1
    header = ["arm", *(["run"] if several_runs else []), *(["data"] if several_data else []), "beta"]
    lines = []
    for (run, data, split, _, beta), by_iteration in arms.items():
        title = next(iter(by_iteration.values())).title
        names = [title, *([run] if several_runs else []), *([f"{data} {split}"] if several_data else [])]
        names_cells = [Cell(name) for name in (*names, None if beta is None else f"{beta:g}")]
        lines.append([*names_cells, *(_grid_cell(by_iteration.get(number), most) for number in iterations)])
    seeds = "one seed" if most == 1 else f"{most} seeds, fewer where (n) says so"
    note = f"accuracy in percent: mean ± standard deviation (n - 1) over seeds; {seeds}; – was not run"
    return from_cells([*header, *(f"T = {number}" for number in iterations)], lines, [note])


def pair_quality_table(iterations: Sequence[Iteration]) -> SourcedTable:
    """One line per arm, beta and iteration: what the preference pairs were made of, means over seeds.

    Of runs that share pairs the first one has the line.
    """
    groups: dict[tuple[str, str, float | None, int], list[Iteration]] = {}
    for each in sorted(iterations, key=lambda item: (item.row.beta or 0.0, item.row.iteration)):
        if each.quality:
            groups.setdefault((each.row.title, each.row.run, each.row.beta, each.row.iteration), []).append(each)
    lines = []
    shown = set[tuple[object, ...]]()
    for (title, run, beta, number), members in groups.items():
        sources = tuple(dict.fromkeys(each.pairs for each in members if each.pairs is not None))
        if (title, beta, number, sources) in shown:
            continue
        shown.add((title, beta, number, sources))
        names = [Cell(text) for text in (title, run, None if beta is None else f"{beta:g}", str(number))]
        values = [_quality(members, name, is_share=is_share) for _, name, is_share in QUALITY_COLUMNS]
        lines.append([*names, *(Cell(text, sources) for text in (_verified(members), *values))])
    header = [
        "arm",
        "run",
        "beta",
        "iteration",
        "corrections verified %",
        *(heading for heading, _, _ in QUALITY_COLUMNS),
    ]
    notes = (
        "means over seeds; overlap: share of words (multiset) that chosen and rejected have in common; length gap: chosen "
        "minus rejected; chosen alone: solved without a wrong attempt, trained on by the NLL term alone",
    )
    return from_cells(header, lines, notes)


def alarm_list(iterations: Sequence[Iteration]) -> SourcedTable:
    """Every alarm of trainings and plays, once, with all arms that it is about."""
    found: dict[tuple[str, str], list[Iteration]] = {}
    for each in iterations:
        for alarm in each.alarms:
            found.setdefault(alarm, []).append(each)
    lines = [
        [
            Cell("; ".join(dict.fromkeys(each.row.title for each in several))),
            Cell(str(several[0].row.iteration)),
            Cell(str(several[0].row.seed)),
            Cell(sentence, (artefact,)),
        ]
        for (artefact, sentence), several in found.items()
    ]
    return from_cells(("arm", "iteration", "seed", "alarm"), lines, ())


def _grid_cell(pool: Pool | None, most: int) -> Cell:
    if pool is None:
        return Cell(None)
    text = mean_and_deviation([row.accuracy for row in pool.samples])
    count = "" if len(pool.samples) == most else f" ({len(pool.samples)})"
    return Cell(text + count, tuple(row.artefact for row in pool.samples))


def _quality(members: Sequence[Iteration], name: str, *, is_share: bool) -> str | None:
    """Mean over seeds; missing as soon as one seed lacks it."""
    values: list[Any] = [each.quality.get(name) for each in members]
    if any(value is None for value in values):
        return None
    return percent(fmean(values)) if is_share else f"{round(fmean(values), 1) + 0.0:.1f}"


def _verified(members: Sequence[Iteration]) -> str | None:
    """Share of the student's corrections that turned out right; missing where none was tried."""
    tried = sum(each.quality["corrections_tried"] for each in members)
    return percent(sum(each.quality["corrections_verified"] for each in members) / tried) if tried else None
