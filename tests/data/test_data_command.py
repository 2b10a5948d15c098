"""The command `medcritical data`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medcritical.cli.data import main
from medcritical.data.publications import PUBLICATIONS


def write(folder: Path, *answers: str) -> str:
    rows = [{"stem": f"Which {n}?", "options": {"A": "x", "B": "y"}, "answer": a} for n, a in enumerate(answers)]
    path = folder / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def test_list_names_every_format_with_publisher_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(source.publisher in shown and source.licence in shown for source in PUBLICATIONS.values())
    assert all(f"{format.value}:" in shown for format in PUBLICATIONS)


def test_check_reports_records_and_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", write(tmp_path, "b", "", "F"), "--format", "jsonl", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["read"], report["accepted"]) == (3, 1)
    assert report["normalised"] == {"answer written in another form": 1}
    assert report["skipped"] == [{"record": 2, "reason": "no answer"}]
    assert report["rejected"] == [{"record": 3, "reason": "answer is not among the options: answer F, options AB"}]


def test_check_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", write(tmp_path, "A", *"CCCCCCCCCCCC"), "--format", "jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("13 records read, 1 accepted, 0 skipped, 12 rejected")
    assert lines[-2].startswith("  rejected   record 11:")
    assert lines[-1] == "  rejected   2 more: --json has them all"
    assert main(["check", write(tmp_path, "A", *"CCCCCCCCCCCC"), "--format", "jsonl", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rejected"]) == 12


def test_traces_are_checked_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = {"stem": "Which?", "options": {"A": "x", "B": "y"}, "answer": "A"}
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, [{**question, "chain": ["one", "two"]}, {**question, "stem": "Who?"}])))
    assert main(["check", str(path), "--format", "jsonl", "--chain", "chain", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["read"], report["accepted"]) == (2, 1)
    assert report["skipped"] == [{"record": 2, "reason": "no chain"}]
    assert main(["check", write(tmp_path, "A"), "--format", "jsonl", "--chain", "chain"]) == 2
    assert "no record of 1 can be used as a jsonl trace" in capsys.readouterr().err


def test_nothing_usable_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", write(tmp_path, "F"), "--format", "jsonl"]) == 2
    assert "1 rejected" in capsys.readouterr().out


def test_refused_file_is_a_failure_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "zh.csv"
    path.write_bytes("Question,Options,Answer\n题干,A 甲\\nB 乙,A\n".encode("gb18030"))
    assert main(["check", str(path), "--format", "cmexam_csv", "--json"]) == 2
    shown = capsys.readouterr()
    assert "offset 24" in shown.err
    assert json.loads(shown.out)["error"] in shown.err
    assert main(["check", str(path), "--format", "cmexam_csv", "--encoding", "gb18030"]) == 0


def test_command_imports_neither_torch_nor_hydra() -> None:
    code = "import sys, medcritical.cli.data; print([m for m in ('torch', 'hydra', 'numpy') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
