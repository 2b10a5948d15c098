"""Usage errors of the commands with a parser of their own: one line, like every other error of a user."""

import sys
from collections.abc import Callable

import pytest

from medcritical.cli import data, export, report, sweep, wandb

USES = [
    (sweep.main, "medcritical-sweep", ""),
    (sweep.main, "medcritical-sweep", "stop outputs"),
    (sweep.main, "medcritical-sweep status", "status"),
    (sweep.main, "medcritical-sweep", "status outputs --yaml"),
    (data.main, "medcritical-data", ""),
    (data.main, "medcritical-data fetch", "fetch nothing"),
    (data.main, "medcritical-data check", "check own.jsonl"),
    (export.main, "medcritical-export", "outputs/run"),
    (export.main, "medcritical-export", "outputs/run --to model --iteration last"),
    (report.main, "medcritical-report", ""),
    (wandb.main, "medcritical-wandb dashboard", "dashboard"),
]


@pytest.mark.parametrize(("main", "program", "arguments"), USES, ids=[f"{use[1]}: {use[2]}" for use in USES])
def test_a_usage_error_is_one_line_that_says_where_help_is(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[], object],
    program: str,
    arguments: str,
) -> None:
    monkeypatch.setattr(sys, "argv", [program.split()[0], *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out, len(shown.err.splitlines())) == (2, "", 1)
    assert shown.err.startswith("error: ")
    assert shown.err.endswith(f"; see {program} --help.\n")
