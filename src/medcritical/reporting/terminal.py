"""Printing tables and a finished run: drawn in a terminal, with the results last; Markdown into a pipe or file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from medcritical.reporting.contents import PRINTED
from medcritical.reporting.markup import MISSING, display_width, from_markdown, text_columns, to_markdown
from medcritical.reporting.summary import SUMMARY
from medcritical.reporting.tables import Table

SHORT = {"iteration": "iter.", "accuracy %": "acc. %", "unparsed %": "unpars. %", "difference": "diff."}
DISPENSABLE = ("unparsed %", "sound %", "n", "p (Holm)", "its interval")
"""Columns that a terminal does without, the first of them first, where it is too narrow for all."""
GAP = 2
"""Columns of a terminal between two of a table."""


def print_run(folder: Path, file: TextIO | None = None) -> None:
    """Print the results of a run's folder.

    A terminal gets the names of the other files, the notes that need but a line, and the table of scores last. A pipe gets
    all that `PRINTED` names and, in its last line, the path of summary.json.
    """
    file = sys.stdout if file is None else file
    figures = sorted(path.name for path in folder.glob("*.png"))
    if file.isatty():
        tables = sorted(path.name for path in folder.glob("*.md"))
        print(f"{folder}: {', '.join([*tables, *figures, SUMMARY])}", file=file)
        if (folder / "alarms.md").is_file():
            print(
                f"ALARM: {len(_read(folder / 'alarms.md').rows)} in alarms.md; read them before the results.", file=file
            )
        print_table(_read(folder / "table.md"), "Results (notes in full: table.md)", file, is_brief=True)
        return
    for name in PRINTED:
        if (path := folder / f"{name}.md").is_file():
            print(path.read_text(encoding="utf-8"), file=file)
    for name in figures:
        print(f"figure: {folder / name}", file=file)
    print(folder / SUMMARY, file=file)


def _read(path: Path) -> Table:
    return from_markdown(path.read_text(encoding="utf-8"))


def print_table(table: Table, title: str, file: TextIO | None = None, *, is_brief: bool = False) -> None:
    """Print title, notes and table to `file` (standard output when None): with rich on a terminal, else as Markdown.

    On a terminal the table comes last, and without the columns that there is no room for. `is_brief` leaves out notes of more
    than a line.
    """
    file = sys.stdout if file is None else file
    if file.isatty():
        _draw(table, title, file, is_brief)
    else:
        file.write(f"## {title}\n\n{to_markdown(table)}\n")


def fitting(table: Table, width: int) -> Table:
    """The table for a terminal of `width` columns: short headings, a note in place of a column that never varies.

    Where that is still too wide, columns of `DISPENSABLE` are left out, and a note names them.
    """
    columns = list(zip(table.header, *table.rows, strict=True))  # each with its heading first
    notes, left_out = list(table.notes), []
    for column in [column for column in columns if column[0] in DISPENSABLE]:
        if len(column) > 2 and len(set(column[1:])) == 1:
            notes.append(f"{column[0]}: {MISSING if column[1] is None else column[1]} in every row")
            columns.remove(column)
    columns = [(SHORT.get(str(heading), heading), *cells) for heading, *cells in columns]
    for name in DISPENSABLE:
        if _width(columns) > width:
            left_out += [name for heading, *_ in columns if heading == SHORT.get(name, name)]
            columns = [column for column in columns if column[0] != SHORT.get(name, name)]
    if left_out:
        notes.append(f"no room here for {', '.join(left_out)}")
    header, *rows = zip(*columns, strict=True)
    return Table(tuple(map(str, header)), tuple(rows), tuple(notes))


def _width(columns: Sequence[tuple[str | None, ...]]) -> int:
    widest = (max(display_width(MISSING if cell is None else cell) for cell in column) for column in columns)
    return sum(widest) + GAP * (len(columns) - 1)


def _draw(table: Table, title: str, file: TextIO, is_brief: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    width, height = shutil.get_terminal_size()
    table = fitting(table, width)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for heading, text in zip(table.header, text_columns(table), strict=True):
        grid.add_column(Text(heading), justify="left" if text else "right")
    for row in table.rows:  # Text, since rich reads "[...]" in a string as markup
        grid.add_row(*(Text(MISSING if cell is None else cell) for cell in row))
    console = Console(file=file, width=width, height=height)  # without both it takes a plain terminal for 80 columns
    console.print(Text(f"\n{title}", style="bold"))
    for note in table.notes:
        if not is_brief or display_width(note) + 2 <= width:
            console.print(Text(f"- {note}", style="dim"))
    console.print(grid)
