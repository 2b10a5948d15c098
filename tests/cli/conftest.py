"""The report command, called in this process."""

import sys

import pytest

from medcritical.cli.report import main


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs the command; returns exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medcritical-report", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run
