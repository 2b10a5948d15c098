"""Usage errors of the commands with a parser of their own: one line, like every other error of a user."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from medcritical.cli import data, export, report, sweep, wandb
from medcritical.cli import main as app

USES = [
    (sweep.main, "medcritical sweep", ""),
    (sweep.main, "medcritical sweep", "stop outputs"),
    (sweep.main, "medcritical sweep status", "status"),
    (sweep.main, "medcritical sweep", "status outputs --yaml"),
    (data.main, "medcritical data", ""),
    (data.main, "medcritical data fetch", "fetch nothing"),
    (data.main, "medcritical data check", "check own.jsonl"),
    (export.main, "medcritical export", "outputs/run"),
    (export.main, "medcritical export", "outputs/run --to model --iteration last"),
    (report.main, "medcritical report", ""),
    (wandb.main, "medcritical wandb dashboard", "dashboard"),
]


@pytest.mark.parametrize(("main", "program", "arguments"), USES, ids=[f"{use[1]}: {use[2]}" for use in USES])
def test_a_usage_error_is_one_line_that_says_where_help_is(
    capsys: pytest.CaptureFixture[str],
    main: Callable[[list[str]], object],
    program: str,
    arguments: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out, len(shown.err.splitlines())) == (2, "", 1)
    assert shown.err.startswith("error: ")
    assert shown.err.endswith(f"; see {program} --help.\n")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["raport", "x"], "did you mean `medcritical report`?"), (["xyz"], "`medcritical help` lists the tools.")],
)
def test_a_first_word_that_is_no_tool_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["medcritical", *arguments])
    with pytest.raises(SystemExit) as ended:
        app.main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert shown.err == f"error: {arguments[0]} is neither a tool nor an override (KEY=VALUE): {hint}\n"


def test_help_lists_every_tool_without_hydra_and_torch() -> None:
    code = "import sys; from medcritical.cli.main import main\ntry: main()\nfinally: print({'hydra', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, "help"], capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in done.stdout.splitlines()[: len(app.TOOLS)]] == list(app.TOOLS)
    assert done.stdout.endswith("set()\n")
