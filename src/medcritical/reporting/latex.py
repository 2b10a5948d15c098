"""Tables as LaTeX (booktabs). Pure.

A table is a file to `\\input`; `document` is a whole article around several of them, to see them and to prove that they compile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from medcritical.reporting.fonts import has_cjk
from medcritical.reporting.markup import MISSING, text_columns
from medcritical.reporting.tables import Table

_ESCAPES = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "β": r"$\beta$",
    "κ": r"$\kappa$",
    "π": r"$\pi$",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}
_STARS = re.compile(r"\*+$")
_PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=1.5cm]{geometry}
\usepackage{booktabs,graphicx}
"""
_PREAMBLE_CJK = r"""\documentclass[UTF8]{ctexart} % Chinese characters: compile with xelatex
\usepackage[a4paper,landscape,margin=1.5cm]{geometry}
\usepackage{booktabs,graphicx}
"""


def to_latex(table: Table, caption: str, label: str) -> str:
    """A `table` environment, shrunk to the line where it is wider, with its notes below. Needs booktabs and graphicx."""
    alignment = "".join("l" if is_text else "r" for is_text in text_columns(table))
    body = [_row(table.header), r"\midrule", *(_row([cell or MISSING for cell in line]) for line in table.rows)]
    notes = [rf"\par\raggedright\footnotesize {escape(note)}" for note in table.notes]
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
        r"\toprule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        *notes,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def document(tables: Mapping[str, str]) -> str:
    """A whole article with LaTeX tables, each on a page of its own; for xelatex and ctex where they hold Chinese."""
    preamble = _PREAMBLE_CJK if any(map(has_cjk, tables.values())) else _PREAMBLE
    body = "\\clearpage\n".join(tables.values())
    return f"{preamble}\\begin{{document}}\n{body}\\end{{document}}\n"


def escape(text: str) -> str:
    """Text as LaTeX shows it unchanged; stars at the end of a number become a superscript."""
    stars = _STARS.search(text)
    plain = text[: stars.start()] if stars else text
    escaped = "".join(_ESCAPES.get(char, char) for char in " ".join(plain.split()))
    return f"{escaped}$^{{{stars.group()}}}$" if stars else escaped


def _row(cells: tuple[str, ...] | list[str]) -> str:
    # A row that begins with [ would be read as the optional argument of the \\ before it.
    return " & ".join("{}" + escape(cell) if cell.startswith("[") else escape(cell) for cell in cells) + r" \\"
