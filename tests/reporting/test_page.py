import struct
from html.parser import HTMLParser

import pytest

from medcritical.reporting.page import Listing, make_page
from medcritical.reporting.pooling import pool_seeds
from medcritical.reporting.sourced import Cell, from_cells, provenance_table, trace
from medcritical.reporting.tables import Table, result_table

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 1500, 900)


class Page(HTMLParser):
    """What a browser would find: identities, links, addresses that it would load, cells with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded, self.cells, self.images = [], [], [], [], []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.loaded += [found[name] for name in ("src", "data") if name in found]
        self.loaded += [found["href"]] if tag == "link" else []
        self.images += [found] if tag == "img" else []
        if tag == "td":
            self.cells.append([found, ""])
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag != "td"

    def handle_data(self, data):
        if self.in_cell:
            self.cells[-1][1] += data


@pytest.fixture
def page(make_row, make_results):
    rows = [make_row(title="<b>监督 & 微调</b>"), make_row("dpo", 1, 120)]
    results = make_results(rows)
    table = from_cells(
        ("arm", "accuracy %", "other"),
        [
            [Cell("<b>监督 & 微调</b>"), Cell("50.0", (rows[0].artefact,)), Cell(None)],
            [Cell("DPO"), Cell("60.0", (rows[1].artefact, "play/1")), Cell("0", ("unknown/1",))],
        ],
        ["a < b"],
    )
    listings = {"provenance": Listing("Sources", provenance_table(results), "scoring")}
    return make_page("demo", {"main": table}, {"main": "Arms"}, {"accuracy": ("Accuracy", PNG)}, listings)


def test_nothing_is_loaded_from_outside(page):
    found = Page(page)
    assert found.loaded
    assert all(address.startswith("data:") for address in found.loaded)
    assert all(link.startswith("#") for link in found.links)
    assert "@import" not in page
    assert "url(" not in page
    assert "<script" not in page


def test_every_link_has_a_target_and_every_target_is_one(page):
    found = Page(page)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))


def test_numbers_say_where_they_come_from_and_missing_ones_that_they_are(page):
    cells = {text: attributes for attributes, text in reversed(Page(page).cells)}
    assert cells["50.0"]["title"] == "score/sft-0-0"
    assert cells["60.0"]["title"] == "score/dpo-1-0, play/1"
    assert cells["–"]["class"] == "missing"
    assert '<a href="#score/dpo-1-0">60.0</a>' in page
    assert cells["0"]["title"] == "unknown/1"


def test_text_from_rows_is_text(page):
    assert "<b>" not in page
    assert "&lt;b&gt;监督 &amp; 微调&lt;/b&gt;" in page


def test_a_figure_is_as_wide_as_in_print(page):
    (image,) = Page(page).images
    assert image["width"] == str(1500 * 96 // 150)


class TestTrace:
    def test_a_line_is_traced_to_the_checkpoint_that_its_names_fit(self, make_row, make_results, make_measured):
        rows = [
            make_row(),
            *(make_row("dpo", 1, 120, beta=b, seed=s, artefact=f"e/{b}{s}") for b in (0.1, 0.3) for s in (0, 1)),
        ]
        pools = pool_seeds(rows)
        sourced = trace(result_table(rows, make_measured()), pools, make_results(rows))
        place = sourced.table.header.index("accuracy %")
        assert [sources[place] for sources in sourced.sources] == [
            ("score/sft-0-0",),
            ("e/0.10", "e/0.11"),
            ("e/0.30", "e/0.31"),
        ]
        assert sourced.sources[0][0] == ()

    def test_a_table_of_stages_is_traced_to_their_artefacts(self, make_row, make_results):
        rows = [make_row(), make_row("dpo", 1)]
        sourced = trace(Table(("stage", "seconds"), (("score", "2"),)), pool_seeds(rows), make_results(rows))
        assert sourced.sources == (((), ("score/sft-0-0", "score/dpo-1-0")),)
