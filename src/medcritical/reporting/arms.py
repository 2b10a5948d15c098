"""The paper's main table: arms by data sets, each arm at its last iteration. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from medcritical.reporting.ledger import teacher_against_self
from medcritical.reporting.measuring import Measured
from medcritical.reporting.pooling import Pool, distinct
from medcritical.reporting.sourced import Cell, SourcedTable, Sources, from_cells
from medcritical.reporting.summary import LedgerEntry, Results
from medcritical.reporting.tables import (
    bounds,
    difference_notes,
    interval_heading,
    interval_notes,
    percent,
    points,
    seed_note,
    shared_notes,
    sizes,
    stars,
    whole,
)


@dataclass(frozen=True)
class Line:
    """A line of the table: what it is called, and its checkpoint on each data set where there is one."""

    title: str
    run: str
    beta: float | None
    pools: Mapping[tuple[str, str], Pool]

    @property
    def every(self) -> list[Pool]:
        """Its checkpoints."""
        return list(self.pools.values())


def main_table(results: Results, pools: Sequence[Pool], measured: Measured) -> SourcedTable:
    """One line per arm (and beta, and run where a data set has several), columns for every data set, then costs.

    `pools` are what `last_iterations` gives.
    """
    shown = distinct(pools)
    data = list(dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in shown))
    lines = _lines(shown)
    several_runs, several_betas = len({line.run for line in lines}) > 1, _has_several_betas(lines)
    header = ["arm", *(["run"] if several_runs else []), *(["beta"] if several_betas else []), "iteration"]
    interval = interval_heading(shown, measured.confidence)
    for name, split in data:
        prefix = f"{name} {split}: " if len(data) > 1 else ""
        header += [f"{prefix}{what}" for what in ("accuracy %", interval, "difference", "unparsed %", "n")]
    header += ["teacher tokens", "self tokens", "teacher s", "self s", *_money_headings(results)]
    cells = []
    for line in lines:
        names = [line.title, *([line.run] if several_runs else []), *([_beta(line)] if several_betas else [])]
        iterations = " / ".join(dict.fromkeys(str(pool.checkpoint.iteration) for pool in line.every))
        row = [*map(Cell, names), Cell(iterations)]
        for key in data:
            row += _score_cells(line.pools.get(key), measured)
        cells.append([*row, *_cost_cells(results, line)])
    return from_cells(header, cells, [*shared_notes(pools, shown), *_notes(shown, measured, results)])


def _lines(pools: Sequence[Pool]) -> list[Line]:
    """Checkpoints of one arm and beta on several data sets are one line, unless a data set has several runs."""
    runs_by_data: dict[tuple[str, str], set[str]] = {}
    for pool in pools:
        runs_by_data.setdefault((pool.checkpoint.data, pool.checkpoint.split), set()).add(pool.checkpoint.run)
    is_one_run = all(len(runs) == 1 for runs in runs_by_data.values())
    found: dict[tuple[str, str, float | None], dict[tuple[str, str], Pool]] = {}
    for pool in pools:
        key = pool.checkpoint
        run = "" if is_one_run else key.run
        found.setdefault((run, key.arm, key.beta), {})[key.data, key.split] = pool
    return [Line(next(iter(mine.values())).title, run, beta, mine) for (run, _, beta), mine in found.items()]


def _score_cells(pool: Pool | None, measured: Measured) -> list[Cell]:
    if pool is None:
        return [Cell(None)] * 5
    sources = tuple(row.artefact for row in pool.samples)
    difference = measured.main_differences.get(pool.checkpoint)
    texts = [
        percent(pool.accuracy),
        bounds(measured.intervals.get(pool.checkpoint)),
        None if difference is None else points(difference.value) + stars(difference, measured.main_differences),
        percent(pool.mean(row.unparsed / row.num_questions for row in pool.samples)),
        sizes(row.num_questions for row in pool.samples),
    ]
    return [Cell(text, sources) for text in texts]


def _cost_cells(results: Results, line: Line) -> list[Cell]:
    """What the line's checkpoints took, mean over seeds and, on several data sets, in all: each artefact of a seed once."""
    seeds = sorted({row.replicate for pool in line.every for row in pool.rows})
    rows = [row for pool in line.every for row in pool.rows]
    made = {
        seed: dict.fromkeys(key for row in rows if row.replicate == seed for key in results.lineage[row.artefact])
        for seed in seeds
    }
    sources: Sources = tuple(dict.fromkeys(key for keys in made.values() for key in keys))

    def mean(figure: Callable[[LedgerEntry], float]) -> float:
        return sum(figure(results.ledger[key]) for keys in made.values() for key in keys) / len(seeds)

    def seconds(stages: Iterable[str]) -> float:
        return mean(lambda entry: entry.costs.seconds if entry.stage in stages else 0.0)

    figures = [mean(lambda entry: entry.costs.teacher_tokens), mean(lambda entry: entry.costs.student_tokens)]
    texts = [whole(value) for value in (*figures, seconds(("teach",)), seconds(("play",)))]
    has_prices = all(results.ledger[key].money is not None for key in sources) and bool(sources)
    for who in ("teacher", "student") if _money_headings(results) else ():
        price = mean(lambda entry, who=who: 0.0 if entry.money is None else getattr(entry.money, who))  # type: ignore[misc]
        texts.append(f"{price:,.4f}" if has_prices else None)
    return [Cell(text, sources) for text in texts]


def _money_headings(results: Results) -> list[str]:
    currencies = sorted({entry.money.currency for entry in results.ledger.values() if entry.money is not None})
    return [f"{who} {currency}" for currency in currencies[:1] for who in ("teacher", "self")]


def _notes(pools: Sequence[Pool], measured: Measured, results: Results) -> list[str]:
    notes = [seed_note(pools), *interval_notes(pools, measured.confidence)]
    notes += difference_notes(measured.baseline, measured.main_differences, "stars")
    everything = dict.fromkeys(key for row in results.rows for key in results.lineage[row.artefact])
    notes.append(
        "tokens: written, for the checkpoint and all it was made from, and not for its answers here (a majority vote's are "
        "several times as many); seconds: of teaching and of self-play"
    )
    return [*notes, teacher_against_self(results.ledger[key] for key in everything)]


def _has_several_betas(lines: Sequence[Line]) -> bool:
    return len({line.beta for line in lines if line.beta is not None}) > 1


def _beta(line: Line) -> str | None:
    return None if line.beta is None else f"{line.beta:g}"
