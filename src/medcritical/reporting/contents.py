"""All tables of a report. Pure."""

from __future__ import annotations

from medcritical.reporting.breakdown import agreement_table, explanation_table, robustness_table, slice_table
from medcritical.reporting.ledger import cost_table, ledger_table, stage_table
from medcritical.reporting.measuring import Measured
from medcritical.reporting.summary import Results
from medcritical.reporting.tables import Table, result_table

TITLES = {
    "table": "Results",
    "costs": "Costs",
    "stages": "Stages",
    "agreement": "Rule against judge",
    "explanation": "Explanations",
    "robustness": "Copies of train questions and other orders of the options",
    "ledger": "Ledger",
    "slices": "Slices",
}
PRINTED = ("costs", "stages", "agreement", "explanation", "robustness", "table")
"""What is printed, the results last; ledger and slices are long and go to files."""


def make_tables(results: Results, measured: Measured) -> dict[str, Table]:
    """The tables by name, in the order of TITLES; one without a line is left out."""
    tables = {
        "table": result_table(results.rows, measured),
        "costs": cost_table(results),
        "stages": stage_table(results),
        "agreement": agreement_table(results),
        "explanation": explanation_table(results),
        "robustness": robustness_table(results),
        "ledger": ledger_table(results),
        "slices": slice_table(results, measured),
    }
    return {name: tables[name] for name in TITLES if tables[name].rows}
