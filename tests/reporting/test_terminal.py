import io
from pathlib import Path

import pytest

from configurations import configure
from medcritical.pipeline.comparison import equal_in, title_of
from medcritical.reporting.markup import display_width, from_markdown, to_markdown
from medcritical.reporting.measuring import Difference
from medcritical.reporting.pooling import checkpoint_of
from medcritical.reporting.tables import Table, result_table
from medcritical.reporting.terminal import fitting, print_run, print_table

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


WIDE = Table(
    ("arm", "iteration", "unparsed %", "sound %", "n"),
    (("a" * 20, "1", "2.5", None, "1000"), ("b" * 20, "2", "3.5", None, "1000")),
)


def test_a_column_that_says_the_same_in_every_row_is_a_note() -> None:
    assert fitting(WIDE, 120) == Table(
        ("arm", "iter.", "unpars. %"),
        (("a" * 20, "1", "2.5"), ("b" * 20, "2", "3.5")),
        ("sound %: – in every row", "n: 1000 in every row"),
    )


def test_a_narrow_terminal_goes_without_columns_and_says_so() -> None:
    assert fitting(WIDE, 38).header == ("arm", "iter.", "unpars. %")  # 20 + 2 + 5 + 2 + 9
    narrow = fitting(WIDE, 37)
    assert narrow.header == ("arm", "iter.")
    assert narrow.notes[-1] == "no room here for unparsed %"


def test_a_table_is_read_from_its_markdown() -> None:
    table = Table(("arm", "n"), (("a | b", None), ("自我纠错", "1")), ("x | y",))
    assert from_markdown(to_markdown(table)) == table


@pytest.fixture
def demo(make_row, make_measured, tmp_path: Path) -> Path:
    """The table of the default arms with both iterations, in every cell as wide as it can get."""
    config, size = configure(), {"num_questions": 1000, "accuracy": 0.6}
    names = {"base": ("Student before training", ""), "sft": ("SFT on thought templates", "")}
    trained = {name: (title_of(config, name), equal_in(config, name)) for name in config.arms}
    rows = [make_row(name, 0, 600, title=title, **size) for name, (title, _) in names.items()]
    for iteration in range(1, config.selfplay.iterations + 1):
        rows += [
            make_row(name, iteration, 600, title=title, equal=equal, **size) for name, (title, equal) in trained.items()
        ]
    widest = {checkpoint_of(row): Difference(-0.608, -0.638, -0.578, 0.0, 0.0, 1) for row in rows if row.arm != "sft"}
    intervals = {checkpoint_of(row): (0.569, 0.63) for row in rows}
    table = result_table(rows, make_measured(differences=widest, intervals=intervals, baseline="sft"))
    assert len(table.rows) == 14
    (tmp_path / "table.md").write_text(to_markdown(table), encoding="utf-8")
    (tmp_path / "costs.md").write_text(to_markdown(WIDE), encoding="utf-8")
    (tmp_path / "alarms.md").write_text(to_markdown(TABLE), encoding="utf-8")
    (tmp_path / "accuracy.png").touch()
    return tmp_path


def test_the_demos_results_fit_a_terminal_and_come_last(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    monkeypatch.chdir(demo.parent)
    print_run(Path(demo.name), file)
    lines = file.getvalue().splitlines()
    assert max(map(display_width, lines)) <= 120
    assert len(lines) < 30  # the shell's next prompt is the 30th
    table = from_markdown((demo / "table.md").read_text(encoding="utf-8"))
    for line, (arm, iteration, accuracy, interval, *_) in zip(lines[-14:], table.rows, strict=True):
        assert line.split("  ")[0] == arm
        assert line.split()[len(arm.split()) :][:4] == [iteration, accuracy, *interval.split()]
    assert "no room" not in file.getvalue()
    assert "ALARM: 2 in alarms.md" in file.getvalue()
    assert "costs.md" in file.getvalue()


def test_a_pipe_gets_all_tables_the_results_after_the_costs_and_the_summary_last(demo: Path) -> None:
    file = io.StringIO()
    print_run(demo, file)
    costs, table = ((demo / name).read_text(encoding="utf-8") for name in ("costs.md", "table.md"))
    assert 0 <= file.getvalue().index(costs) < file.getvalue().index(table)
    assert file.getvalue().splitlines()[-1] == str(demo / "summary.json")
