import json
import re
from pathlib import Path

import pytest

from medcritical.errors import DataError
from medcritical.records import Agreement, ExplanationScore, Judged, Score, Slice
from medcritical.reporting.summary import (
    SCHEMA,
    LedgerEntry,
    Money,
    Summary,
    SummaryRow,
    gather,
    main_arms,
    read_summary,
    write_summary,
)
from medcritical.store import Costs

REPOSITORY = Path(__file__).resolve().parents[2]


def summary_of(*rows: SummaryRow) -> Summary:
    return Summary(
        store="../store",
        confidence=0.95,
        rows=rows,
        predictions={row.artefact: f"{row.artefact}/p.jsonl" for row in rows},
        scores={},
        lineage={row.artefact: ("sft/1",) for row in rows},
        scoring={row.artefact: (row.artefact,) for row in rows},
        ledger={"sft/1": LedgerEntry(stage="sft", costs=Costs(seconds=2.5), money=None)},
    )


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
        ('{"schema": 99, "rows": []}', "schema 99, .* update it"),
        ('{"schema": "x", "rows": []}', "schema 'x'"),
        ('{"schema": 1, "rows": []}', "schema 1, .* remove that one or leave it out"),
        ('{"schema": 2, "rows": []}', "schema 2, .* remove that one or leave it out"),
        ('{"schema": 3, "rows": [{"arm": "sft"}]}', "damaged"),
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
    with pytest.raises(ValueError, match="score/sft-0-0"):
        make_row(**changes)


def test_predictions_lie_under_the_store(tmp_path, make_row):
    summary = summary_of(make_row())
    assert summary.predictions_path(tmp_path, "score/sft-0-0") == tmp_path / "../store/score/sft-0-0/p.jsonl"
    assert summary.predictions_path(tmp_path, "score/other") is None
    absolute = Summary(
        store="/data/store",
        confidence=0.95,
        rows=(),
        predictions={"a": "a/p.jsonl"},
        scores={},
        lineage={},
        scoring={},
        ledger={},
    )
    assert absolute.predictions_path(tmp_path, "a") == Path("/data/store/a/p.jsonl")


def test_the_documentation_names_every_field_and_its_example_is_a_summary(tmp_path):
    page = (REPOSITORY / "docs" / "summary.md").read_text(encoding="utf-8")
    documented = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    records = (SummaryRow, Summary, Score, Slice, Agreement, Judged, ExplanationScore, LedgerEntry, Costs, Money)
    assert documented == {name for record in records for name in record.__struct_fields__}
    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example is not None
    (tmp_path / "summary.json").write_text(example.group(1), encoding="utf-8")
    summary = read_summary(tmp_path / "summary.json")
    assert summary.schema == SCHEMA == json.loads(example.group(1))["schema"]
    assert summary.rows[0].accuracy == summary.rows[0].num_correct / summary.rows[0].num_questions


def test_runs_together_have_what_they_share_once(tmp_path, make_row, make_score):
    def summary(seed: int, seconds: float) -> Summary:
        row = make_row(seed=seed)
        return Summary(
            store="store",
            confidence=(0.9, 0.95)[seed],
            rows=(row,),
            predictions={row.artefact: f"{row.artefact}.jsonl"},
            scores={row.artefact: make_score(num_unparsed=seed)},
            lineage={row.artefact: ("teach/shared", f"sft/{seed}")},
            scoring={row.artefact: (row.artefact,)},
            ledger={
                "teach/shared": LedgerEntry(stage="teach", costs=Costs(seconds=seconds)),
                f"sft/{seed}": LedgerEntry(stage="sft", costs=Costs()),
            },
        )

    there = tmp_path / "b" / "store" / "score" / "sft-0-1.jsonl"
    there.parent.mkdir(parents=True)
    there.touch()
    results = gather([(tmp_path / "a", summary(0, 3.0)), (tmp_path / "b", summary(1, 9.0))])
    assert [row.seed for row in results.rows] == [0, 1]
    assert results.predictions == {"score/sft-0-1": there}  # the other file is not there any more
    assert {name: score.num_unparsed for name, score in results.scores.items()} == {
        "score/sft-0-0": 0,
        "score/sft-0-1": 1,
    }
    assert set(results.ledger) == {"teach/shared", "sft/0", "sft/1"}
    assert results.ledger["teach/shared"].costs.seconds == 3.0
    assert results.confidences == {0.9, 0.95}


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (["base", "sft", "dpo_self", "dpo_samples", "dpo_self"], ["dpo_self", "dpo_samples"]),
        (["base", "sft", "majority_vote"], ["majority_vote"]),
        (["taiyi", "qwen"], ["taiyi", "qwen"]),
        (["base", "sft"], ["sft"]),
        (["base"], ["base"]),
    ],
)
def test_a_run_is_about_its_arms(make_row, arms, expected):
    assert main_arms([make_row(arm, int(arm.startswith("dpo"))) for arm in arms]) == expected
