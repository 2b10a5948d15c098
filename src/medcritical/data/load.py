"""Questions from a file in any upstream format: rows, drafts, the common checks, a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medcritical.config.choices import DataFormat, OnError
from medcritical.data.build import build_question
from medcritical.data.duplicates import resolve_duplicates
from medcritical.data.formats import FORMATS
from medcritical.data.publications import how_to_get
from medcritical.data.report import ALL_REJECTED, Fault, LoadReport, RejectedRow, SkippedRow, quote
from medcritical.data.rows import Row, read_text
from medcritical.errors import DataError
from medcritical.records import Question, Split

T = TypeVar("T")


@dataclass(frozen=True)
class LoadResult:
    """The questions of one file in file order, and what happened to every record."""

    questions: list[Question]
    report: LoadReport


def load_questions(
    path: str | Path,
    format: DataFormat,
    *,
    encoding: str,
    language: str,
    source: str,
    on_error: OnError,
    split: Split,
) -> LoadResult:
    """The questions of `path`, at least one, all in `split`.

    Ids are `<source>-<upstream id>`, or `<source>-<hash of the question and its answer>` where upstream has none;
    a row in our own form keeps its id, language and source.

    Raises:
        DataError: the file is missing, unreadable or has no usable record; with `on_error=fail`, its first bad row.
    """
    result = read_questions(
        path, format, encoding=encoding, language=language, source=source, on_error=on_error, split=split
    )
    if not result.questions:
        raise DataError("\n".join([f"{path} has no usable question.", *result.report.lines(10, rest=ALL_REJECTED)]))
    return result


def read_questions(
    path: str | Path,
    format: DataFormat,
    *,
    encoding: str,
    language: str,
    source: str,
    on_error: OnError,
    split: Split,
) -> LoadResult:
    """`load_questions`, also when no record is usable: what `medcritical data check` shows."""
    report = LoadReport(str(path))

    def convert(row: Row, changes: set[str]) -> Question:
        draft = FORMATS[format].parse(row, changes)
        return build_question(draft, language=language, source=source, split=split, changes=changes)

    numbered = convert_rows(read_rows(Path(path), format, encoding), convert, report, on_error)
    questions, skipped, rejected = resolve_duplicates(numbered)
    close_report(report, len(questions), skipped, rejected, on_error)
    return LoadResult(questions, report)


def convert_rows(
    rows: Iterator[Row], convert: Callable[[Row, set[str]], T], report: LoadReport, on_error: OnError
) -> list[tuple[int, T]]:
    """What `convert` makes of each row, by record number; what it refuses goes to `report`.

    Raises:
        DataError: `on_error=fail` and a row was rejected.
    """
    converted: list[tuple[int, T]] = []
    for row in rows:
        report.read += 1
        changes: set[str] = set()
        try:
            if row.fault:
                raise RejectedRow("unreadable record", row.fault)
            converted.append((row.number, convert(row, changes)))
        except SkippedRow as error:
            report.skipped.append(_name_fault(row, error))
        except RejectedRow as error:
            report.rejected.append(_name_fault(row, error))
            _stop_at_fault(report, on_error)
        else:
            report.normalised.update(changes)
    return converted


def close_report(
    report: LoadReport, accepted: int, skipped: list[Fault], rejected: list[Fault], on_error: OnError
) -> None:
    """Adds what only the whole file shows, in record order.

    Raises:
        DataError: `on_error=fail` and a record was rejected.
    """
    report.accepted = accepted
    report.skipped = sorted(report.skipped + skipped)
    report.rejected = sorted(report.rejected + rejected)
    _stop_at_fault(report, on_error)


def read_rows(path: Path, format: DataFormat, encoding: str) -> Iterator[Row]:
    """The rows of `path`.

    Raises:
        DataError: there is no such file (the message says where it is published), or it cannot be read as a whole.
    """
    if format not in FORMATS:
        raise DataError(f"{format.value} is no file format; use one of {', '.join(key.value for key in FORMATS)}.")
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}. {how_to_get(format)}")
    return FORMATS[format].read(read_text(path, encoding), path)


def _name_fault(row: Row, error: SkippedRow | RejectedRow) -> Fault:
    """The fault of a row, with its key where it has one, such as a PMID."""
    fault = Fault(row.number, *error.args)
    return fault._replace(detail=f"{fault.detail} in key {quote(row.name)}".strip()) if row.name else fault


def _stop_at_fault(report: LoadReport, on_error: OnError) -> None:
    if on_error is OnError.fail and report.rejected:
        fault = report.rejected[0]
        raise DataError(f"{report.path}:{fault.record}: {fault.sentence}. Mend the record or set data.on_error=reject.")
