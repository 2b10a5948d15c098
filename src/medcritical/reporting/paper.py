"""The whole report of any mix of runs: tables with their sources, figures, and the files they are written to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from medcritical.reporting.arms import main_table
from medcritical.reporting.bars import quality_figure, slice_figure
from medcritical.reporting.contents import TITLES, make_tables
from medcritical.reporting.crossover import crossover_table
from medcritical.reporting.environments import environment_notes
from medcritical.reporting.figures import accuracy_figure
from medcritical.reporting.grids import alarm_list, beta_grid, pair_quality_table
from medcritical.reporting.latex import document, to_latex
from medcritical.reporting.markup import to_csv, to_markdown
from medcritical.reporting.measuring import Measured
from medcritical.reporting.page import Listing, make_page
from medcritical.reporting.pooling import Pool, distinct, last_iterations, pool_seeds
from medcritical.reporting.sourced import SourcedTable, artefact_table, provenance_table, trace
from medcritical.reporting.summary import Results
from medcritical.reporting.tables import Table
from medcritical.reporting.trade_offs import beta_figure, cost_figure
from medcritical.reporting.trail import Iteration, read_iterations
from medcritical.reporting.trajectories import curves_figure, group_curves
from medcritical.store.jsonl import write_atomically

HEADINGS = {
    "main": "Arms",
    "grid": "Beta against iterations",
    **TITLES,
    "crossover": "Crossover of accuracy against tokens",
    "pair_quality": "Pair quality",
    "alarms": "Alarms",
}
CAPTIONS = {
    "accuracy": "Accuracy over iterations; bars: the intervals of the tables",
    "betas": "Accuracy against beta; bars: the intervals of the tables",
    "costs": "Accuracy against tokens written by teacher and student; rings: where two lines cross",
    "slices": "Accuracy by slice at the last iteration; lines: the intervals of the tables",
    "pairs": "What the preference pairs were made of, means over seeds",
    "curves": "Log-probabilities, margin and reward accuracy over optimizer steps: means over seeds; faint: the seeds",
}
PAGE, CONTENT, DOCUMENT, PROVENANCE = "report.html", "report.json", "report.tex", "provenance"


@dataclass(frozen=True)
class Paper:
    """Tables by name in the order of HEADINGS, those without a line left out, and what the figures are drawn from."""

    results: Results
    pools: list[Pool]
    iterations: list[Iteration]
    measured: Measured
    tables: dict[str, SourcedTable]


def make_paper(results: Results, measured: Measured) -> Paper:
    """Everything that the runs say. Raises DataError as `pool_seeds` does, ArtefactError for a damaged store."""
    pools, iterations = pool_seeds(results.rows), read_iterations(results)
    plain = make_tables(results, measured)
    tables = {
        "main": main_table(results, last_iterations(pools), measured),
        "grid": beta_grid(distinct(pools)),
        **{name: trace(table, pools, results) for name, table in plain.items()},
        "crossover": crossover_table(pools),
        "pair_quality": pair_quality_table(iterations),
        "alarms": alarm_list(iterations),
    }
    made_unlike = environment_notes(results)
    for name in ("main", "table"):
        tables[name] = tables[name].with_notes(made_unlike)
    for name in ("main", "grid"):
        tables[name] = tables[name].with_notes(f"missing: {cell}" for cell in measured.missing)
    kept = {name: tables[name] for name in HEADINGS if name in tables and tables[name].table.rows}
    return Paper(results, pools, iterations, measured, kept)


def write_paper(paper: Paper, folder: Path) -> None:
    """Write every table as .md, .csv and .tex, all as report.json, report.tex and report.html, every figure as .png and .pdf.

    Raises ArtefactError when the folder cannot be written.
    """
    provenance = provenance_table(paper.results)
    tables = {name: sourced.table for name, sourced in paper.tables.items()}
    headings = {**HEADINGS, PROVENANCE: "Where numbers come from"}
    latex = {}
    for name, table in {**tables, PROVENANCE: provenance}.items():
        latex[name] = to_latex(table, headings[name], f"tab:{name}")
        _write(folder / f"{name}.md", to_markdown(table))
        _write(folder / f"{name}.csv", to_csv(table))
        _write(folder / f"{name}.tex", latex[name])
    _write(folder / DOCUMENT, document(latex))
    _write(folder / CONTENT, to_json(paper))
    figures = {name: (_caption(name), (folder / f"{name}.png").read_bytes()) for name in draw_figures(paper, folder)}
    title = f"medcritical: {', '.join(dict.fromkeys(row.run for row in paper.results.rows))}"
    listings = {
        PROVENANCE: Listing(headings[PROVENANCE], provenance, "scoring"),
        "artefacts": Listing("Artefacts", artefact_table(paper.results), "artefact"),
    }
    _write(folder / PAGE, make_page(title, paper.tables, HEADINGS, figures, listings))


def draw_figures(paper: Paper, folder: Path) -> list[str]:
    """Write every figure that there is something to draw for, as .png and .pdf; their names."""
    pools, measured = paper.pools, paper.measured
    last = last_iterations(pools)

    def places(name: str) -> tuple[Path, Path]:
        return folder / f"{name}.png", folder / f"{name}.pdf"

    accuracy_figure(pools, measured.intervals, *places("accuracy"))
    drawn = {
        "accuracy": True,
        "betas": beta_figure(pools, measured.intervals, *places("betas")),
        "costs": cost_figure(pools, *places("costs")),
        "slices": slice_figure(paper.results, distinct(last), measured.slice_intervals, *places("slices")),
        "pairs": quality_figure(paper.iterations, *places("pairs")),
    }
    for name, curves in group_curves(paper.iterations).items():
        curves_figure(curves, *places(name))
        drawn[name] = True
    return [name for name, is_drawn in drawn.items() if is_drawn]


def to_json(paper: Paper) -> str:
    """All tables with the artefacts behind each cell; differences as shares of questions; rows, scores, lineage and ledger."""
    differences = [
        {
            **msgspec.to_builtins(checkpoint),
            "baseline": paper.measured.baseline,
            **msgspec.to_builtins(difference),
        }
        for checkpoint, difference in paper.measured.differences.items()
    ]
    content = {
        "rows": paper.results.rows,
        "differences": differences,
        "scores": paper.results.scores,
        "lineage": paper.results.lineage,
        "ledger": paper.results.ledger,
        "tables": {name: _plain(sourced) for name, sourced in paper.tables.items()},
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _plain(sourced: SourcedTable) -> dict[str, Any]:
    """A table as JSON: a missing value is null, and every other cell names its artefacts."""
    table: Table = sourced.table
    rows = [
        [{"text": text, "artefacts": sources} for text, sources in zip(line, behind, strict=True)]
        for line, behind in zip(table.rows, sourced.sources, strict=True)
    ]
    return {"header": table.header, "rows": rows, "notes": table.notes}


def _caption(name: str) -> str:
    _, beta, value = name.partition("-beta-")
    return CAPTIONS[name.partition("-beta-")[0]] + (f"; beta {value}" if beta else "")


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode("utf-8"))
