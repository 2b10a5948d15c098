"""What stays in the results file, and the table that the page shows."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medcritical.errors import MedCriticalError

LoadScript = Callable[[str], ModuleType]


@pytest.fixture
def results(load_script: LoadScript, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with a file and a page of its own."""
    module = load_script("results")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results" / "cpu.json")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(module, "_commit", lambda: "c0ffee")
    module.PAGE.write_text(f"before\n\n{module.BEGIN}\nold\n{module.END}\n\nafter\n", encoding="utf-8")
    return module


@pytest.fixture
def make_case(load_script: LoadScript) -> Callable[..., Any]:
    measure = load_script("measure")

    def make(name: str, note: str = "", target: float | None = None) -> Any:
        contest = measure.Contest(name, "peer", lambda: int, lambda: int, measure.Target(target), lambda: note)
        return measure.summarise(contest, [measure.Turn(measure.Effort(1.0, 1.0, 10), measure.Effort(2.0, 1.0, 10))])

    return make


def test_results_of_one_commit_are_kept_together(
    results: ModuleType, make_case: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> list[tuple[str, str]]:
        found = json.loads(results.RESULTS.read_text(encoding="utf-8"))
        return [(case["name"], case["note"]) for case in found["cases"]]

    results.record([make_case("one"), make_case("two")])
    results.record([make_case("two", "again")])
    assert kept() == [("one", ""), ("two", "again")]
    monkeypatch.setattr(results, "_commit", lambda: "decaf")
    results.record([make_case("three")])
    assert kept() == [("three", "")]
    before = json.loads(results.RESULTS.with_name("cpu-before.json").read_text(encoding="utf-8"))
    assert [case["name"] for case in before["cases"]] == ["one", "two"]  # half an hour's work is not lost


def test_the_page_gets_the_table_and_keeps_the_rest(
    results: ModuleType, make_case: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    results.record([make_case("met", target=2.0), make_case("missed", target=2.5), make_case("free")])
    page = results.PAGE.read_text(encoding="utf-8")
    assert page.startswith("before\n\n")
    assert page.endswith("\n\nafter\n")
    assert "old" not in page
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("|")}
    assert " yes " in rows["met"]
    assert " NO " in rows["missed"]
    assert " yes " not in rows["free"]
    assert " NO " not in rows["free"]
    assert rows["met"] in capsys.readouterr().out
    results.record([make_case("met", target=2.0)])
    assert results.PAGE.read_text(encoding="utf-8").count(results.BEGIN) == 1


def test_a_page_without_marks_is_refused(results: ModuleType) -> None:
    with pytest.raises(MedCriticalError, match="no lines"):
        results.replace_table("a page", "a table")


def test_the_page_of_this_repository_shows_its_results_file(load_script: LoadScript) -> None:
    module = load_script("results")
    page = module.PAGE.read_text(encoding="utf-8")
    if not module.RESULTS.is_file():
        assert f"{module.BEGIN}\n{module.END}" in page, "a table of figures that no results file holds"
        return
    table = module.results_table(module.read_results(module.RESULTS))
    assert module.replace_table(page, table) == page, "docs/performance.md and benchmarks/results/cpu.json differ"
