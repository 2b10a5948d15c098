"""What a person sees of a stage that is done."""

import io

from configurations import configure
from medcritical.pipeline.plan import make_plan
from medcritical.pipeline.watch import Watcher
from medcritical.pipeline.worker import Event


def test_details_and_alarms_stand_on_lines_of_their_own() -> None:
    calls, stream = make_plan(configure("arm=dpo_self"), {}).calls, io.StringIO()
    details = ["train.csv: 5 records read, 3 accepted, 1 skipped, 1 rejected", "  rejected   record 4: empty stem"]
    facts = {"shown": ["3 train, 2 test"], "details": details, "alarms": ["loss diverged"]}
    Watcher(calls, 0, stream).see(Event(kind="done", key=calls[0].ref.key, seconds=1.5, facts=facts))
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("1.5 s  3 train, 2 test")
    assert lines[1:] == [f"    {details[0]}", f"    {details[1]}", "    ALARM: loss diverged"]
