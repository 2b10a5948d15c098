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
    assert (trace.chain, trace.response, trace.letters) == (text, "It is heparin.", "B")
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
    assert all(trace.chain and trace.response and trace.letters == trace.question.answer for trace in result.traces)


def test_unusable_requests_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable trace"):
        load(write(tmp_path, ROW | {"Response": ""}))
    with pytest.raises(ConfigError, match=r"teacher\.chain=thoughts"):
        load(write(tmp_path, ROW), "thoughts")
    with pytest.raises(ConfigError, match=r"teacher\.format=cmexam_csv"):
        load(write(tmp_path, ROW), format=DataFormat.cmexam_csv)
    with pytest.raises(DataError, match=r"teacher\.files"):
        load(tmp_path / "absent.json")
