"""Recorded teachers: questions with the chain of thought that a teacher wrote for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medcritical.config.choices import DataFormat, OnError
from medcritical.data.build import build_question
from medcritical.data.drafts import list_field, text_field
from medcritical.data.duplicates import resolve_duplicates
from medcritical.data.formats import FORMATS
from medcritical.data.load import close_report, convert_rows, read_rows
from medcritical.data.normalise import clean_text
from medcritical.data.report import ALL_REJECTED, LoadReport, SkippedRow
from medcritical.data.rows import Row
from medcritical.errors import ConfigError, DataError
from medcritical.records import Question

# HuatuoGPT-o1: the value of `teacher.chain` to upstream's field.
_HUATUO_FIELDS = {"response": "Response", "complex_cot": "Complex_CoT"}
# Own JSON Lines: what a trace adds to the fields of a question.
_OWN_TRACE_FIELDS = ("outline", "chain", "response")


@dataclass(frozen=True)
class Trace:
    """A question and what the teacher wrote: `outline` (empty without one), `chain`, and a closing `response`.

    `response` is the text that may state an answer; it is empty where the source has none. The right letters are
    always those of the question.
    """

    question: Question
    outline: tuple[str, ...]
    chain: tuple[str, ...]
    response: str


@dataclass(frozen=True)
class TraceResult:
    """The traces of one file in file order, and what happened to every record."""

    traces: list[Trace]
    report: LoadReport


def load_traces(
    path: str | Path,
    format: DataFormat,
    chain: str,
    *,
    encoding: str,
    language: str,
    source: str,
    on_error: OnError,
) -> TraceResult:
    """The traces of `path`, at least one, the first of each question; their questions are in the train split.

    Raises:
        ConfigError: `format` has no traces, or no such field.
        DataError: the file is missing, unreadable or has no usable trace; with `on_error=fail`, its first bad row.
    """
    result = read_traces(path, format, chain, encoding=encoding, language=language, source=source, on_error=on_error)
    if not result.traces:
        raise DataError("\n".join([f"{path} has no usable trace.", *result.report.lines(10, rest=ALL_REJECTED)]))
    return result


def read_traces(
    path: str | Path,
    format: DataFormat,
    chain: str,
    *,
    encoding: str,
    language: str,
    source: str,
    on_error: OnError,
) -> TraceResult:
    """`load_traces`, also when no record is usable: what `medcritical data check --chain` shows.

    `chain` names the field that holds the chain: "response" or "complex_cot" (HuatuoGPT-o1), "explanation" (CMExam),
    "chain" (own JSON Lines). A record without its texts is skipped.

    Raises:
        ConfigError: `format` has no traces, or no such field.
        DataError: the file is missing or unreadable; with `on_error=fail`, its first bad row.
    """
    if format not in _READERS:
        known = " or ".join(known.value for known in _READERS)
        raise ConfigError(f"teacher.format={format.value} holds no recorded traces; use {known}.")
    fields, read = _READERS[format]
    if chain not in fields:
        raise ConfigError(f"teacher.chain={chain} is no field of a {format.value} trace; use {' or '.join(fields)}.")
    report = LoadReport(str(path))

    def build(row: Row, changes: set[str]) -> Question:
        draft = FORMATS[format].parse(row, changes)
        return build_question(draft, language=language, source=source, split="train", changes=changes)

    def convert(row: Row, changes: set[str]) -> Trace:
        return read(row, chain, build, changes)

    numbered = convert_rows(read_rows(Path(path), format, encoding), convert, report, on_error)
    _, skipped, rejected = resolve_duplicates([(record, trace.question) for record, trace in numbered])
    left_out = {fault.record for fault in skipped + rejected}
    traces = [trace for record, trace in numbered if record not in left_out]
    close_report(report, len(traces), skipped, rejected, on_error)
    return TraceResult(traces, report)


_Build = Callable[[Row, set[str]], Question]
"""From a row to its question."""


def _read_huatuo(row: Row, chain: str, build: _Build, changes: set[str]) -> Trace:
    """HuatuoGPT-o1: the texts argue for an open-ended rewriting of the question and name no letter; upstream kept a
    trace only when it reached the right answer."""
    question = build(row, changes)  # skips a row without its texts
    texts = {name: clean_text(text_field(row.value, field), changes) for name, field in _HUATUO_FIELDS.items()}
    return Trace(question, (), (texts[chain],), texts["response"])


def _read_explanation(row: Row, chain: str, build: _Build, changes: set[str]) -> Trace:
    """CMExam: the explanation is the chain. There is no closing response: its marks （C对） judge the statements of the
    options, which in a question for the wrong one is not the answer."""
    question = build(row, changes)
    if not question.explanation:  # placeholders such as 请等待更新 are none
        raise SkippedRow("no explanation")
    return Trace(question, (), (question.explanation,), "")


def _read_own(row: Row, chain: str, build: _Build, changes: set[str]) -> Trace:
    """Own JSON Lines: a question's fields, and `chain`, `outline` (a text or a list of steps each), `response`."""
    own = row._replace(value={name: value for name, value in row.value.items() if name not in _OWN_TRACE_FIELDS})
    steps = _steps(row, "chain", changes)
    if not steps:
        raise SkippedRow("no chain")
    response = clean_text(text_field(row.value, "response"), changes)
    return Trace(build(own, changes), _steps(row, "outline", changes), steps, response)


def _steps(row: Row, field: str, changes: set[str]) -> tuple[str, ...]:
    value = row.value.get(field)
    texts = list_field(row.value, field) if isinstance(value, list) else [text_field(row.value, field)]
    cleaned = [clean_text(text, changes) for text in texts]
    return tuple(text for text in cleaned if text)


_READERS: dict[DataFormat, tuple[tuple[str, ...], Callable[[Row, str, _Build, set[str]], Trace]]] = {
    DataFormat.huatuo_json: (tuple(_HUATUO_FIELDS), _read_huatuo),
    DataFormat.cmexam_csv: (("explanation",), _read_explanation),
    DataFormat.jsonl: (("chain",), _read_own),
}
"""By format: the fields that may hold the chain, and what reads a row."""
