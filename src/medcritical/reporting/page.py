"""The report as one HTML page that opens without a network: style, figures and tables are all inside. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Set
from dataclasses import dataclass
from html import escape

from medcritical.reporting.drawing import DPI
from medcritical.reporting.markup import MISSING, text_columns
from medcritical.reporting.sourced import SourcedTable, Sources
from medcritical.reporting.tables import Table

SHOWN_SOURCES = 12  # in a tooltip; report.json has them all
CSS_DPI = 96
TEXT = ' class="text"'
_STYLE = """
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; color: #222; background: #fff;
       max-width: 78rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
a { color: #0b5394; } td a { color: inherit; text-decoration: none; border-bottom: 1px dotted #999; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th { border-top: 2px solid #222; border-bottom: 1px solid #222; text-align: right; vertical-align: bottom; }
th, td { padding: .25rem .7rem .25rem 0; } td { text-align: right; } .text { text-align: left; }
tbody tr:last-child td { border-bottom: 2px solid #222; }
td.missing { color: #777; } tr:target { background: #fff3c4; }
ul.notes { color: #555; font-size: .82rem; padding-left: 1.1rem; }
img { max-width: 100%; } figure { margin: 1rem 0; } code { font-size: .85em; }
"""


@dataclass(frozen=True)
class Listing:
    """A table that numbers lead to: its heading, and the column that holds the artefact which a line is about."""

    heading: str
    table: Table
    column: str

    @property
    def artefacts(self) -> list[str]:
        """The artefact of each line."""
        return [line[self.table.header.index(self.column)] or "" for line in self.table.rows]


def make_page(
    title: str,
    tables: Mapping[str, SourcedTable],
    headings: Mapping[str, str],
    figures: Mapping[str, tuple[str, bytes]],
    listings: Mapping[str, Listing],
) -> str:
    """The page.

    Args:
        tables: by name; every number says in its tooltip which artefacts it was counted from, and leads to the first.
        headings: of the tables, by name.
        figures: by name, caption and PNG.
        listings: by name, what numbers lead to; an artefact is in one line of one listing.
    """
    targets = {artefact for listing in listings.values() for artefact in listing.artefacts}
    ends = {name: listing.heading for name, listing in listings.items()}
    links = {**{name: headings[name] for name in tables}, "figures": "Figures", **ends}
    parts = [
        f"<h1>{escape(title)}</h1>",
        "<nav>" + " ".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in links.items()) + "</nav>",
    ]
    for name, table in tables.items():
        parts.append(f'<h2 id="{name}">{escape(headings[name])}</h2>{_table(table, targets)}')
    parts.append('<h2 id="figures">Figures</h2>')
    parts += [_figure(name, caption, png) for name, (caption, png) in figures.items()]
    for name, listing in listings.items():
        parts.append(f'<h2 id="{name}">{escape(listing.heading)}</h2>{_listing(listing)}')
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _table(sourced: SourcedTable, targets: Set[str]) -> str:
    table, is_text = sourced.table, text_columns(sourced.table)
    lines = []
    for line, sources in zip(table.rows, sourced.sources, strict=True):
        cells = zip(line, sources, is_text, strict=True)
        lines.append(f"<tr>{''.join(_cell(cell, of, targets, is_text=text) for cell, of, text in cells)}</tr>")
    return _framed(table, is_text, lines)


def _cell(text: str | None, sources: Sources, targets: Set[str], *, is_text: bool) -> str:
    """A cell; a missing value says so and is never a number."""
    kind = TEXT if is_text else ""
    if text is None:
        return f'<td class="missing" title="missing: not run or not recorded">{MISSING}</td>'
    if not sources:
        return f"<td{kind}>{escape(text)}</td>"
    more = f" and {len(sources) - SHOWN_SOURCES} more" if len(sources) > SHOWN_SOURCES else ""
    title = f' title="{escape(", ".join(sources[:SHOWN_SOURCES]) + more)}"'
    target = next((source for source in sources if source in targets), None)
    shown = escape(text) if target is None else f'<a href="#{escape(target)}">{escape(text)}</a>'
    return f"<td{kind}{title}>{shown}</td>"


def _listing(listing: Listing) -> str:
    """The lines, each with its artefact as anchor."""
    lines = []
    for line, artefact in zip(listing.table.rows, listing.artefacts, strict=True):
        shown = [MISSING if cell is None else escape(cell) for cell in line]
        cells = [f"<td>{f'<code>{cell}</code>' if '/' in cell else cell}</td>" for cell in shown]
        lines.append(f'<tr id="{escape(artefact)}">{"".join(cells)}</tr>')
    return _framed(listing.table, text_columns(listing.table), lines)


def _framed(table: Table, is_text: list[bool], lines: list[str]) -> str:
    head = "".join(
        f"<th{TEXT if text else ''}>{escape(heading)}</th>" for heading, text in zip(table.header, is_text, strict=True)
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    body = "\n".join(lines)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
        f'<ul class="notes">{notes}</ul>'
    )


def _figure(name: str, caption: str, png: bytes) -> str:
    content = base64.b64encode(png).decode("ascii")
    width = int.from_bytes(png[16:20], "big") * CSS_DPI // DPI  # of the PNG's header: shown as large as in print
    return (
        f'<figure id="figure-{name}"><img width="{width}" alt="{escape(caption)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
