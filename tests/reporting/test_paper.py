"""The whole report, drawn and written from a finished run and its store."""

import json

import pytest

from medcritical.reporting.measuring import PredictionReader, measure
from medcritical.reporting.paper import make_paper, write_paper
from medcritical.reporting.summary import gather, read_summary


@pytest.fixture(scope="module")
def written(tmp_path_factory, make_run):
    folder = make_run(tmp_path_factory.mktemp("reported"))
    results = gather([(folder, read_summary(folder / "summary.json"))])
    measured = measure(results, "sft", 0.95, PredictionReader(results.predictions))
    paper = make_paper(results, measured)
    write_paper(paper, folder / "paper")
    return folder / "paper"


def test_every_figure_and_table_is_there(written):
    names = {path.name for path in written.iterdir()}
    for figure in ("accuracy", "costs", "slices", "pairs", "curves"):
        assert {f"{figure}.png", f"{figure}.pdf"} <= names
    for table in (
        "main",
        "grid",
        "table",
        "costs",
        "stages",
        "ledger",
        "slices",
        "pair_quality",
        "alarms",
        "provenance",
    ):
        assert {f"{table}.md", f"{table}.csv", f"{table}.tex"} <= names
    assert not {"betas.png", "agreement.md"} & names  # one beta and no judge: nothing to show


def test_the_page_holds_all_figures_and_the_tables(written):
    page = (written / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 5
    assert "Early saturation." in page
    assert 'id="dpo/1"' in page


def test_json_names_the_artefacts_of_the_pairs(written):
    table = json.loads((written / "report.json").read_text(encoding="utf-8"))["tables"]["pair_quality"]
    (line,) = table["rows"]
    cells = dict(zip(table["header"], line, strict=True))
    assert cells["overlap %"] == {"text": "75.0", "artefacts": ["pair/1"]}
    assert cells["sound chosen %"] == {"text": None, "artefacts": []}
