"""The whole report, drawn and written from a finished run and its store."""

import json

import pytest
from msgspec.structs import replace

from medcritical.reporting import paper
from medcritical.reporting.measuring import PredictionReader, measure
from medcritical.reporting.paper import draw_figures, make_paper, write_paper
from medcritical.reporting.summary import gather, read_summary


@pytest.fixture(scope="module")
def written(tmp_path_factory, make_run):
    folder = make_run(tmp_path_factory.mktemp("reported"))
    results = gather([(folder, read_summary(folder / "summary.json"))])
    measured = measure(results, "sft", 0.95, PredictionReader(results.predictions))
    write_paper(make_paper(results, measured), folder / "paper")
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


def test_bars_of_slices_are_of_checkpoints_with_intervals(monkeypatch, tmp_path, make_run):
    """A second run has the same SFT checkpoint, and the first's arm at an iteration that is not the first's last."""
    folder = make_run(tmp_path)
    summary = read_summary(folder / "summary.json")
    sft, dpo = summary.rows
    more = replace(dpo, iteration=2, artefact="score/more")
    by_artefact = {
        name: {**getattr(summary, name), "score/more": getattr(summary, name)[dpo.artefact]}
        for name in ("scores", "lineage", "scoring")
    }
    first = replace(summary, rows=(sft, dpo, more), **by_artefact)
    other = replace(summary, rows=(replace(sft, run="other"), replace(dpo, run="other")))
    results = gather([(folder, first), (folder, other)])
    measured = measure(results, "sft", 0.95, PredictionReader(results.predictions))
    drawn = []
    monkeypatch.setattr(paper, "slice_figure", lambda _, pools, intervals, *paths: drawn.append((pools, intervals)))
    draw_figures(make_paper(results, measured), tmp_path)
    ((pools, intervals),) = drawn
    assert [(pool.checkpoint.run, pool.checkpoint.arm, pool.checkpoint.iteration) for pool in pools] == [
        ("demo", "sft", 0),
        ("demo", "dpo_self", 2),
        ("other", "dpo_self", 1),
    ]
    assert {pool.checkpoint for pool in pools} <= {checkpoint for checkpoint, _ in intervals}


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
