"""What a person sees: a live line in a terminal, plain lines in a log."""

import io

import pytest

from configurations import configure
from medcritical.config.stages import PairStage
from medcritical.pipeline.plan import StageCall, make_plan
from medcritical.pipeline.watch import Watcher
from medcritical.pipeline.worker import Event
from medcritical.store import ArtefactRef

CALL = StageCall(ArtefactRef(stage="pair", key="k"), PairStage.__new__(PairStage), {}, {}, "dpo_self iteration 1")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def events() -> list[Event]:
    return [
        Event(kind="waiting", key="k"),
        Event(kind="started", key="k"),
        Event(kind="progress", key="k", done=5, total=10, unit="steps"),
        Event(kind="done", key="k", seconds=2.5, facts={"shown": ["8 pairs"], "alarms": ["Something is odd."]}),
    ]


def show(stream: io.StringIO) -> str:
    watcher = Watcher([CALL] * 3, num_done=1, stream=stream)
    for event in events():
        watcher.see(event)
    return stream.getvalue()


def test_a_log_gets_one_line_per_stage_and_its_alarms() -> None:
    text = show(io.StringIO())
    assert "\x1b" not in text
    line, alarm = text.splitlines()
    assert line.split() == ["[2/3]", "pair", "dpo_self", "iteration", "1", "2.5", "s", "8", "pairs"]
    assert alarm.strip() == "ALARM: Something is odd."


def test_a_terminal_sees_how_far_it_is_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setenv("COLUMNS", "200")
    text = show(Terminal())
    assert "5/10 steps, 2.5/s, 0:02 left" in text
    assert text.endswith("Something is odd.\n")


def test_a_live_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    live = [part for part in show(Terminal()).split("\r\x1b[2K") if "5/10" in part]
    assert [len(part) for part in live] == [59]


def test_details_and_alarms_stand_on_lines_of_their_own() -> None:
    calls, stream = make_plan(configure("arm=dpo_self"), {}).calls, io.StringIO()
    details = ["train.csv: 5 records read, 3 accepted, 1 skipped, 1 rejected", "  rejected   record 4: empty stem"]
    facts = {"shown": ["3 train, 2 test"], "details": details, "alarms": ["loss diverged"]}
    Watcher(calls, 0, stream).see(Event(kind="done", key=calls[0].ref.key, seconds=1.5, facts=facts))
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("1.5 s  3 train, 2 test")
    assert lines[1:] == [f"    {details[0]}", f"    {details[1]}", "    ALARM: loss diverged"]
