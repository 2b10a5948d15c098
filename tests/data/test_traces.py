"""Recorded teacher traces."""

import json
from pathlib import Path
from typing import Any

import pytest

from medcritical.config.choices import DataFormat, OnError
from medcritical.data.traces import TraceResult, load_traces
from medcritical.errors import ConfigError, DataError

ROW = {
    "question": "Which drug?",
    "options": {"A": "aspirin", "B": "heparin"},
    "answer_idx": "B",
    "answer": "heparin",
    "Complex_CoT": "Let me think.\u200b",
    "Response": "It is heparin.",
}


def load(path: Path, chain: str = "response", format: DataFormat = DataFormat.huatuo_json) -> TraceResult:
    return load_traces(path, format, chain, encoding="utf-8", language="en", source="huatuo", on_error=OnError.reject)


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "traces.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("chain", "text"), [("response", "It is heparin."), ("complex_cot", "Let me think.")])
def test_trace_has_question_chain_and_letters(tmp_path: Path, chain: str, text: str) -> None:
    (trace,) = load(write(tmp_path, ROW), chain).traces
    assert (trace.outline, trace.chain, trace.response) == ((), (text,), "It is heparin.")
    assert trace.question.answer == "B"
    assert (trace.question.stem, trace.question.split) == ("Which drug?", "train")


def test_incomplete_and_repeated_traces_are_skipped_with_counts(tmp_path: Path) -> None:
    no_response = {key: value for key, value in ROW.items() if key != "Response"}
    no_options = ROW | {"options": None}
    report = load(write(tmp_path, ROW, ROW | {"Complex_CoT": " "}, no_response, no_options, ROW)).report
    assert [(fault.record, fault.reason) for fault in report.skipped] == [
        (2, "no Complex_CoT"),
        (3, "no Response"),
        (4, "no options"),
        (5, "duplicate question"),
    ]
    assert (report.read, report.accepted) == (5, 1)


def test_real_traces_all_load(shared_data: Path) -> None:
    result = load(shared_data / "huatuo_o1" / "demo_data.json", "complex_cot")
    assert len(result.traces) == 160
    assert all(trace.chain[0] and trace.response and not trace.outline for trace in result.traces)


def test_unusable_requests_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable trace"):
        load(write(tmp_path, ROW | {"Response": ""}))
    with pytest.raises(ConfigError, match=r"teacher\.chain=thoughts"):
        load(write(tmp_path, ROW), "thoughts")
    with pytest.raises(ConfigError, match=r"teacher\.format=mmlu_csv .* huatuo_json or cmexam_csv or jsonl"):
        load(write(tmp_path, ROW), format=DataFormat.mmlu_csv)
    with pytest.raises(
        ConfigError, match=r"teacher\.chain=response is no field of a cmexam_csv trace; use explanation"
    ):
        load(write(tmp_path, ROW), format=DataFormat.cmexam_csv)
    with pytest.raises(DataError, match=r"teacher\.files"):
        load(tmp_path / "absent.json")


def test_an_explanation_is_the_chain_and_never_the_gold(tmp_path: Path) -> None:
    """A negative stem: the marks judge the statements, and the answer is the one marked wrong."""
    path = tmp_path / "cmexam.csv"
    marked = "头孢类对肾有毒性（A对），青霉素过敏常见（B对），庆大霉素可以口服吸收（C错）。"
    rows = [
        f'下列说法错误的是,"A 甲\nB 乙\nC 丙",C,{marked}',
        '流脑,"A 甲\nB 乙",A,请等待更新',
        '感冒,"A 甲\nB 乙",A,',
    ]
    path.write_text("Question,Options,Answer,Explanation\n" + "\n".join(rows), encoding="utf-8")
    result = load(path, "explanation", DataFormat.cmexam_csv)
    (trace,) = result.traces
    assert (trace.question.answer, trace.chain, trace.response) == ("C", (marked,), "")
    assert [(fault.record, fault.reason) for fault in result.report.skipped] == [
        (2, "no explanation"),
        (3, "no explanation"),
    ]


def test_real_explanations_load(shared_data: Path) -> None:
    result = load(shared_data / "cmexam" / "val_part.csv", "explanation", DataFormat.cmexam_csv)
    skipped = sum(fault.reason == "no explanation" for fault in result.report.skipped)
    assert skipped == 748  # 748 without any and one placeholder; one of them is rejected for its options
    assert len(result.traces) > 4_200
    assert all(trace.chain[0] == trace.question.explanation for trace in result.traces)


OWN = {"id": "q1", "stem": "Which drug?", "options": {"A": "aspirin", "B": "heparin"}, "answer": "B"}


@pytest.mark.parametrize(
    ("fields", "outline", "chain", "response"),
    [
        ({"chain": "Because."}, (), ("Because.",), ""),
        ({"chain": ["1. a", "2. b"], "outline": ["1. x", "2. y"]}, ("1. x", "2. y"), ("1. a", "2. b"), ""),
        ({"chain": ["a", " "], "outline": "x", "response": "So B."}, ("x",), ("a",), "So B."),
    ],
)
def test_own_traces(
    fields: dict[str, Any], outline: tuple[str, ...], chain: tuple[str, ...], response: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(OWN | fields), encoding="utf-8")
    (trace,) = load(path, "chain", DataFormat.jsonl).traces
    assert (trace.outline, trace.chain, trace.response) == (outline, chain, response)
    assert (trace.question.id, trace.question.answer) == ("q1", "B")


def test_own_traces_without_a_chain_or_with_unknown_fields_are_told(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [
        OWN | {"chain": "c"},
        OWN | {"id": "q2", "stem": "2"},
        OWN | {"id": "q3", "stem": "3", "chain": "c", "cot": ""},
    ]
    rows.append(OWN | {"id": "q4", "stem": "4", "chain": ["c", 1]})
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    report = load(path, "chain", DataFormat.jsonl).report
    assert [(fault.record, fault.reason) for fault in report.skipped] == [(2, "no chain")]
    assert [(fault.record, fault.reason) for fault in report.rejected] == [
        (3, "unknown field"),
        (4, "chain is not a list of texts"),
    ]
