import json
import re
from pathlib import Path

import pytest

from medcritical.errors import DataError
from medcritical.reporting.summary import SCHEMA, Summary, SummaryRow, read_summary, write_summary

REPOSITORY = Path(__file__).resolve().parents[2]


def summary_of(*rows: SummaryRow) -> Summary:
    return Summary(store="../store", rows=rows, predictions={row.artefact: f"{row.artefact}/p.jsonl" for row in rows})


def test_what_is_written_is_read_back(tmp_path, make_row):
    summary = summary_of(make_row(title="自我纠错"), make_row("dpo_self", 1, 120, sound=None, seconds=None))
    path = tmp_path / "run" / "summary.json"
    write_summary(path, summary)
    assert read_summary(path) == summary
    assert "自我纠错" in path.read_text(encoding="utf-8")
    assert [child.name for child in path.parent.iterdir()] == ["summary.json"]  # no partial file stays


def test_writing_twice_gives_the_same_bytes(tmp_path, make_row):
    contents = []
    for name in ("a.json", "b.json"):
        write_summary(tmp_path / name, summary_of(make_row()))
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read"),
        ("[1, 2]", "no run summary"),
        ('{"accuracy": 0.5}', "no run summary"),
        ('{"schema": 99, "rows": []}', "schema 99"),
        ('{"schema": 1, "rows": [{"arm": "sft"}]}', "damaged"),
    ],
)
def test_what_is_no_summary_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "summary.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_summary(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_summary(tmp_path / "summary.json")


@pytest.mark.parametrize("changes", [{"num_questions": 0}, {"num_correct": 201}, {"unparsed": -1}, {"sound": 201}])
def test_impossible_counts_are_refused(make_row, changes):
    with pytest.raises(ValueError, match="evaluate/sft-0-0"):
        make_row(**changes)


def test_predictions_lie_under_the_store(tmp_path, make_row):
    summary = summary_of(make_row())
    assert summary.predictions_path(tmp_path, "evaluate/sft-0-0") == tmp_path / "../store/evaluate/sft-0-0/p.jsonl"
    assert summary.predictions_path(tmp_path, "evaluate/other") is None
    absolute = Summary(store="/data/store", rows=(), predictions={"a": "a/p.jsonl"})
    assert absolute.predictions_path(tmp_path, "a") == Path("/data/store/a/p.jsonl")


def test_the_documentation_names_every_field_and_its_example_is_a_summary(tmp_path):
    page = (REPOSITORY / "docs" / "summary.md").read_text(encoding="utf-8")
    documented = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert documented == set(SummaryRow.__struct_fields__) | set(Summary.__struct_fields__)
    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example is not None
    (tmp_path / "summary.json").write_text(example.group(1), encoding="utf-8")
    summary = read_summary(tmp_path / "summary.json")
    assert summary.schema == SCHEMA == json.loads(example.group(1))["schema"]
    assert summary.rows[0].accuracy == summary.rows[0].num_correct / summary.rows[0].num_questions
