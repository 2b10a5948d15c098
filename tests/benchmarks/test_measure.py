"""How the benchmarks compare two sides: turns, ratios, and what stays in the results file."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with a results file of its own and a clock that only the work below moves."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    module = importlib.import_module("measure")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "cpu.json")
    monkeypatch.setattr(module, "_commit", lambda: "c0ffee")
    return module


def work(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch, log: list[str], name: str, seconds: list[float], tokens: int
) -> Callable[[int], Callable[[], int]]:
    """Work of so many seconds at each turn; its preparation takes an hour, which must not be counted."""

    def prepare(turn: int) -> Callable[[], int]:
        now = measure.time.process_time() + 3600
        monkeypatch.setattr(measure.time, "process_time", lambda: now)

        def timed() -> int:
            log.append(f"{name}{turn}")
            ended = now + seconds[turn]
            monkeypatch.setattr(measure.time, "process_time", lambda: ended)
            return tokens

        return timed

    return prepare


def test_sides_take_turns_and_the_ratio_is_the_median_of_costs_per_token(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    ours = work(measure, monkeypatch, log, "A", [3.0, 1.0, 2.0], tokens=200)
    theirs = work(measure, monkeypatch, log, "B", [1.0, 1.0, 1.0], tokens=100)
    case = measure.compare("case", "peer", ours, theirs, turns=3, note="")
    assert log == ["A0", "B0", "A1", "B1", "A2", "B2"]
    assert (case.ratio, case.lowest, case.highest) == (1.0, 0.5, 1.5)
    assert (case.ours_tokens_per_second, case.peer_tokens_per_second) == (100, 100)
    assert [turn.ours.seconds for turn in case.runs] == [3.0, 1.0, 2.0]


def test_results_of_one_commit_are_kept_together(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = measure.Turn(measure.Side(1.0, 10), measure.Side(2.0, 10))

    def case(name: str, note: str = "") -> object:
        return measure.Case(name, "peer", 0.5, 0.5, 0.5, 10, 5, note, [turn])

    def kept() -> list[tuple[str, str]]:
        results = json.loads(measure.RESULTS.read_text(encoding="utf-8"))
        return [(found["name"], found["note"]) for found in results["cases"]]

    measure.record([case("one"), case("two")])
    measure.record([case("two", "again")])
    assert kept() == [("one", ""), ("two", "again")]
    assert " 0.50 |" in capsys.readouterr().out
    monkeypatch.setattr(measure, "_commit", lambda: "decaf")
    measure.record([case("three")])
    assert kept() == [("three", "")]
