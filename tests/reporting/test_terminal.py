import io

from medcritical.reporting.markup import to_markdown
from medcritical.reporting.tables import Table
from medcritical.reporting.terminal import print_table

TABLE = Table(("arm", "interval"), (("自我纠错 [b]", "[53.5, 67.5]"), ("SFT", None)), ("chance 25 %",))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_markdown():
    file = io.StringIO()
    print_table(TABLE, "Results", file)
    assert file.getvalue() == f"## Results\n\n{to_markdown(TABLE)}\n"


def test_a_terminal_gets_every_cell_as_it_is(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    print_table(TABLE, "Results", file)
    for text in ("Results", "自我纠错 [b]", "[53.5, 67.5]", "–", "chance 25 %"):
        assert text in file.getvalue()
    assert "| ---" not in file.getvalue()
