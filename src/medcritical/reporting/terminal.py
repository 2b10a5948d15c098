"""Printing a table: drawn in a terminal, Markdown into a pipe or file."""

from __future__ import annotations

import sys
from typing import TextIO

from medcritical.reporting.markup import MISSING, text_columns, to_markdown
from medcritical.reporting.tables import Table


def print_table(table: Table, title: str, file: TextIO | None = None) -> None:
    """Print title, table and notes to `file` (standard output when None): with rich on a terminal, else as Markdown."""
    file = sys.stdout if file is None else file
    if file.isatty():
        _draw(table, title, file)
    else:
        file.write(f"## {title}\n\n{to_markdown(table)}\n")


def _draw(table: Table, title: str, file: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, is_text in zip(table.header, text_columns(table), strict=True):
        grid.add_column(Text(heading), justify="left" if is_text else "right")
    for row in table.rows:  # Text, since rich reads "[...]" in a string as markup
        grid.add_row(*(Text(MISSING if cell is None else cell) for cell in row))
    console = Console(file=file)
    console.print(grid)
    for note in table.notes:
        console.print(Text(f"  {note}", style="dim"))
