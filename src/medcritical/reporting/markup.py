"""Tables as Markdown and as CSV. Pure."""

from __future__ import annotations

import csv
import io
import re
import unicodedata

from medcritical.reporting.tables import Table

MISSING = "–"
WORDS = (
    *("arm", "run", "data", "stage", "annotation", "value", "judge", "rule found"),
    *("other arm", "axis", "ahead at first", "scoring", "checkpoint", "artefact", "alarm"),
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


def from_markdown(text: str) -> Table:
    """The table that `to_markdown` wrote, spaces in cells and notes as they stand there."""
    header, _, *rows = (_cells(line) for line in text.splitlines() if line.startswith("|"))
    notes = tuple(_unescape(line.removeprefix("- ")) for line in text.splitlines() if line.startswith("- "))
    return Table(tuple(map(_unescape, header)), tuple(tuple(map(_missing, row)) for row in rows), notes)


def to_csv(table: Table) -> str:
    """Header and rows as CSV with `\\n` line ends; a missing value is an empty field, as readers of CSV expect."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return text.getvalue()


def text_columns(table: Table) -> list[bool]:
    """For each column, whether it holds words, to be aligned left; columns of numbers are aligned right."""
    return [heading in WORDS for heading in table.header]


def display_width(text: str) -> int:
    """Columns that a terminal gives the text: 2 for East Asian wide characters, 0 for combining marks, else 1."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _escape(cell: str) -> str:
    """The cell on one line, with the column mark escaped."""
    return " ".join(cell.split()).replace("|", "\\|")


def _unescape(cell: str) -> str:
    return cell.replace("\\|", "|")


def _cells(line: str) -> list[str]:
    """The cells of a line, still escaped."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _missing(cell: str) -> str | None:
    return None if cell == MISSING else _unescape(cell)


def _pad(cell: str, width: int, is_text: bool) -> str:
    space = " " * (width - display_width(cell))
    return cell + space if is_text else space + cell
