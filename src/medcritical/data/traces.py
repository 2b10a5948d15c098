"""Recorded teachers: questions with the chain of thought that a teacher wrote for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medcritical.config.choices import DataFormat, OnError
from medcritical.data.build import build_question
from medcritical.data.drafts import text_field
from medcritical.data.duplicates import resolve_duplicates
from medcritical.data.formats import FORMATS
from medcritical.data.load import close_report, convert_rows, read_rows
from medcritical.data.normalise import clean_text
from medcritical.data.report import LoadReport, SkippedRow
from medcritical.data.rows import Row
from medcritical.errors import ConfigError, DataError
from medcritical.records import Question

# The value of `teacher.chain` to upstream's field.
CHAIN_FIELDS = {"response": "Response", "complex_cot": "Complex_CoT"}


@dataclass(frozen=True)
class Trace:
    """A question and what the teacher wrote: the chosen `chain`, the closing `response`, and the `letters` it is for.

    The texts argue for an open-ended rewriting of the question and name no letter; upstream kept a trace only when it
    reached the right answer, so `letters` are those of the question.
    """

    question: Question
    chain: str
    response: str
    letters: str


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

    `chain` is "response" or "complex_cot". A record without either text is skipped.

    Raises:
        ConfigError: `format` has no traces, or `chain` is another word.
        DataError: the file is missing, unreadable or has no usable trace; with `on_error=fail`, its first bad row.
    """
    if format is not DataFormat.huatuo_json:
        raise ConfigError(f"teacher.format={format.value} holds no recorded traces; use huatuo_json.")
    if chain not in CHAIN_FIELDS:
        raise ConfigError(f"teacher.chain={chain} is unknown; use {' or '.join(CHAIN_FIELDS)}.")
    report = LoadReport(str(path))

    def convert(row: Row, changes: set[str]) -> Trace:
        texts = {name: _trace_text(row, field, changes) for name, field in CHAIN_FIELDS.items()}
        draft = FORMATS[format].parse(row, changes)
        question = build_question(draft, language=language, source=source, split="train", changes=changes)
        return Trace(question, texts[chain], texts["response"], question.answer)

    numbered = convert_rows(read_rows(Path(path), format, encoding), convert, report, on_error)
    _, skipped, rejected = resolve_duplicates([(record, trace.question) for record, trace in numbered])
    left_out = {fault.record for fault in skipped + rejected}
    traces = [trace for record, trace in numbered if record not in left_out]
    close_report(report, len(traces), skipped, rejected, on_error)
    if not traces:
        raise DataError("\n".join([f"{path} has no usable trace.", *report.lines()]))
    return TraceResult(traces, report)


def _trace_text(row: Row, field: str, changes: set[str]) -> str:
    text = clean_text(text_field(row.value, field), changes)
    if not text:
        raise SkippedRow(f"no {field}")
    return text
