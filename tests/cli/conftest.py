"""The report command, called in this process."""

import pytest

from medcritical.cli.report import main


@pytest.fixture
def call(capsys):
    """Runs the command; returns exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([*map(str, arguments)])
        except SystemExit as exit_:  # of the parser
            status = int(exit_.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
