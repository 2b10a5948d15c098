"""Tables whose numbers say which artefacts they were counted from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from medcritical.reporting.pooling import Pool
from medcritical.reporting.summary import Results, SummaryRow
from medcritical.reporting.tables import Table, leading_columns, whole

Sources = tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A cell's text, None where the value is missing, and the artefacts that it comes from."""

    text: str | None
    sources: Sources = ()


@dataclass(frozen=True)
class SourcedTable:
    """A table, and for each of its cells the artefacts that the value comes from; none for a name or a missing value."""

    table: Table
    sources: tuple[tuple[Sources, ...], ...]

    def with_notes(self, notes: Iterable[str]) -> SourcedTable:
        """The same with further notes at the end."""
        return replace(self, table=replace(self.table, notes=(*self.table.notes, *notes)))


def from_cells(header: Sequence[str], lines: Iterable[Sequence[Cell]], notes: Sequence[str]) -> SourcedTable:
    """A table from its cells."""
    lines = [tuple(line) for line in lines]
    texts = tuple(tuple(cell.text for cell in line) for line in lines)
    sources = tuple(tuple(() if cell.text is None else cell.sources for cell in line) for line in lines)
    return SourcedTable(Table(tuple(header), texts, tuple(notes)), sources)


def trace(table: Table, pools: Sequence[Pool], results: Results) -> SourcedTable:
    """A table of lines about checkpoints (or, with a first column `stage` alone, about stages) with its sources.

    A line names its checkpoint by the columns that it shares with `leading_columns`, or at least by its arm; its numbers come
    from the scorings of all checkpoints that fit, and behind them from what each was made from.
    """
    names = {column.heading: column for column in leading_columns(pools)}
    places = [(place, names[heading]) for place, heading in enumerate(table.header) if heading in names]
    stages = _artefacts_by_stage(results)

    def of_line(line: Sequence[str | None]) -> Sources:
        if not places:
            return stages.get(line[0] or "", ())
        fitting = [pool for pool in pools if all(column.cell(pool) == line[place] for place, column in places)]
        return tuple(row.artefact for pool in fitting for row in pool.rows)

    named = {place for place, _ in places} or {0}
    sources = [
        tuple(() if place in named or cell is None else of_line(line) for place, cell in enumerate(line))
        for line in table.rows
    ]
    return SourcedTable(table, tuple(sources))


def provenance_table(results: Results) -> Table:
    """One line per scored checkpoint and seed: the artefact of its scoring and the checkpoint that it scored."""
    header = ("arm", "run", "data", "beta", "iteration", "seed", "scoring", "checkpoint")
    lines = [
        (
            row.arm,
            row.run,
            f"{row.data} {row.split}",
            None if row.beta is None else f"{row.beta:g}",
            str(row.iteration),
            str(row.seed),
            row.artefact,
            _checkpoint(results, row),
        )
        for row in results.rows
    ]
    notes = ("an artefact is STAGE/HASH, its folder in the store; the hash is of its configuration, inputs and seed",)
    return Table(header, tuple(lines), notes)


def artefact_table(results: Results) -> Table:
    """One line per artefact that a score or its checkpoint was made from, scorings left out: stage, tokens, seconds."""
    scorings = {row.artefact for row in results.rows}
    lines = [
        (
            name,
            entry.stage,
            whole(entry.costs.teacher_tokens),
            whole(entry.costs.student_tokens),
            whole(entry.costs.seconds),
        )
        for name, entry in sorted(results.ledger.items())
        if name not in scorings
    ]
    return Table(("artefact", "stage", "teacher tokens", "student tokens", "seconds"), tuple(lines))


def _checkpoint(results: Results, row: SummaryRow) -> str | None:
    made_of = results.lineage.get(row.artefact, ())
    return made_of[-1] if made_of else None


def _artefacts_by_stage(results: Results) -> dict[str, Sources]:
    stages: dict[str, list[str]] = {}
    for artefact, entry in results.ledger.items():
        stages.setdefault(entry.stage, []).append(artefact)
    return {stage: tuple(artefacts) for stage, artefacts in stages.items()}
