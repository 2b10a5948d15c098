"""Tables of scores and costs from summary rows, as Markdown, as CSV and as cells for a terminal. Pure."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medcritical.reporting.pooling import Checkpoint, Difference, Pool, pool_seeds
from medcritical.reporting.summary import SummaryRow
from medcritical.store import Costs

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Cells as text under a header; None is a missing value. `notes` are printed below, one line each."""

    header: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column's heading and the cell it has for a pool."""

    heading: str
    cell: Callable[[Pool], str | None]


def result_table(
    rows: Sequence[SummaryRow], differences: Mapping[Checkpoint, Difference], baseline: str | None
) -> Table:
    """One line per checkpoint: accuracy and its interval, sound and unparsed shares, difference to the baseline, n.

    Shares are in percent and differences in percentage points, pooled over seeds by the caller. With several seeds the
    accuracy is their mean and its interval their range. `baseline` is the arm that differences were taken to, None
    where none was. Raises DataError as `pool_seeds` does.
    """
    pools = pool_seeds(rows)
    columns = [
        *_leading_columns(pools),
        Column("accuracy %", lambda pool: _percent(pool.accuracy)),
        Column("interval", _interval),
        Column("sound %", lambda pool: _percent(pool.mean(_share(row, row.sound) for row in pool.rows))),
        Column("unparsed %", lambda pool: _percent(pool.mean(_share(row, row.unparsed) for row in pool.rows))),
        Column("difference", lambda pool: _difference(differences.get(pool.checkpoint))),
        Column("difference interval", lambda pool: _difference_interval(differences.get(pool.checkpoint))),
        Column("n", _num_questions),
    ]
    notes = [*_chance_notes(pools), *_interval_notes(pools)]
    if differences:
        notes.append(f"difference: percentage points to arm '{baseline}', paired by question and pooled over seeds")
    return _fill(pools, columns, notes)


def cost_table(rows: Sequence[SummaryRow]) -> Table:
    """One line per checkpoint: teacher tokens, student tokens and seconds, means over seeds.

    Apart from `result_table` because seconds differ between two runs of the same configuration.
    """
    pools = pool_seeds(rows)
    columns = [
        *_leading_columns(pools),
        Column("teacher tokens", lambda pool: _whole(pool.mean(row.teacher_tokens for row in pool.rows))),
        Column("student tokens", lambda pool: _whole(pool.mean(row.student_tokens for row in pool.rows))),
        Column("seconds", lambda pool: _whole(pool.mean(row.seconds for row in pool.rows))),
    ]
    return _fill(pools, columns, ["costs: of the checkpoint and all it was made from, each artefact once"])


def stage_cost_table(costs: Sequence[tuple[str, Costs]]) -> Table:
    """One line per stage in the order of first appearance: artefacts made, tokens and seconds in all.

    `costs` are (stage, costs) of every artefact of one run, each once.
    """
    rows = []
    for stage in dict.fromkeys(stage for stage, _ in costs):
        of_stage = [cost for name, cost in costs if name == stage]
        tokens = sum(cost.teacher_tokens for cost in of_stage), sum(cost.student_tokens for cost in of_stage)
        seconds = sum(cost.seconds for cost in of_stage)
        rows.append((stage, str(len(of_stage)), *(_whole(number) for number in (*tokens, seconds))))
    header = ("stage", "artefacts", "teacher tokens", "student tokens", "seconds")
    return Table(
        header, tuple(rows), ("stages: of all arms together, each artefact once; scoring tokens in `evaluate`",)
    )


def display_width(text: str) -> int:
    """Columns that a terminal gives the text: 2 for East Asian wide characters, 0 for combining marks, else 1."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def to_markdown(table: Table) -> str:
    """The table in Markdown, aligned for reading as it stands, with its notes below; ends in a newline."""
    header = [_escape(heading) for heading in table.header]
    body = [[MISSING if cell is None else _escape(cell) for cell in row] for row in table.rows]
    widths = [max(3, *(display_width(cell) for cell in column)) for column in zip(header, *body, strict=True)]
    is_text = text_columns(table)
    rule = ["-" * width if text else "-" * (width - 1) + ":" for width, text in zip(widths, is_text, strict=True)]
    lines = [f"| {' | '.join(map(_pad, row, widths, is_text))} |" for row in (header, rule, *body)]
    if table.notes:
        lines += ["", *(f"- {_escape(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Header and rows as CSV with `\\n` line ends; a missing value is an empty field, as readers of CSV expect."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return text.getvalue()


def text_columns(table: Table) -> list[bool]:
    """For each column, whether it holds words, to be aligned left; columns of numbers are aligned right."""
    return [heading in ("arm", "run", "data", "stage") for heading in table.header]


def _leading_columns(pools: Sequence[Pool]) -> list[Column]:
    """What names the line: arm and iteration always, run, data and beta where they differ between lines."""
    keys = [pool.checkpoint for pool in pools]
    optional = [
        (len({key.run for key in keys}), Column("run", lambda pool: pool.checkpoint.run)),
        (
            len({(key.data, key.split) for key in keys}),
            Column("data", lambda pool: f"{pool.checkpoint.data} {pool.checkpoint.split}"),
        ),
        (len({key.beta for key in keys if key.beta is not None}), Column("beta", _beta)),
    ]
    return [
        Column("arm", lambda pool: pool.title),
        *(column for num_values, column in optional if num_values > 1),
        Column("iteration", lambda pool: str(pool.checkpoint.iteration)),
    ]


def _fill(pools: Sequence[Pool], columns: Sequence[Column], notes: Sequence[str]) -> Table:
    header = tuple(column.heading for column in columns)
    return Table(header, tuple(tuple(column.cell(pool) for column in columns) for pool in pools), tuple(notes))


def _chance_notes(pools: Sequence[Pool]) -> list[str]:
    """Per data set and split, what guessing and always giving the commonest letter would score."""
    notes = []
    for data, split in dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools):
        rows = [row for pool in pools for row in pool.rows if (row.data, row.split) == (data, split)]
        chance = sum(row.chance for row in rows) / len(rows)
        commonest = sum(row.commonest_letter_accuracy for row in rows) / len(rows)
        notes.append(
            f"{data} {split}: chance {_percent(chance)} %, always the commonest letter {_percent(commonest)} %"
        )
    return notes


def _interval_notes(pools: Sequence[Pool]) -> list[str]:
    notes = []
    levels = sorted({row.confidence for pool in pools if len(pool.rows) == 1 for row in pool.rows})
    if levels:
        notes.append(f"[low, high]: Wilson interval, {' or '.join(f'{level:.4g}' for level in levels)} confidence")
    if any(len(pool.rows) > 1 for pool in pools):
        notes.append("low … high: lowest and highest seed; the accuracy is then the mean over seeds")
    return notes


def _interval(pool: Pool) -> str:
    low, high = (_percent(bound) for bound in pool.spread)
    return f"[{low}, {high}]" if len(pool.rows) == 1 else f"{low} … {high}"


def _num_questions(pool: Pool) -> str:
    sizes = [row.num_questions for row in pool.rows]
    if len(sizes) == 1:
        return str(sizes[0])
    return f"{len(sizes)} × {sizes[0]}" if len(set(sizes)) == 1 else " + ".join(map(str, sizes))


def _difference(difference: Difference | None) -> str | None:
    return None if difference is None else f"{100 * difference.value:+.1f}"


def _difference_interval(difference: Difference | None) -> str | None:
    return None if difference is None else f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def _beta(pool: Pool) -> str | None:
    return None if pool.checkpoint.beta is None else f"{pool.checkpoint.beta:g}"


def _share(row: SummaryRow, count: int | None) -> float | None:
    return None if count is None else count / row.num_questions


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}"


def _whole(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _escape(cell: str) -> str:
    """The cell on one line, with the column mark escaped."""
    return " ".join(cell.split()).replace("|", "\\|")


def _pad(cell: str, width: int, is_text: bool) -> str:
    space = " " * (width - display_width(cell))
    return cell + space if is_text else space + cell
