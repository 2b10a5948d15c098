"""Files as numbered rows. Bytes are decoded once and strictly; a row that cannot be read keeps its number.

CSV records count from 1 after the header; JSONL lines count from 1, blank ones included; items of a JSON array or
object count from 1. A whole file is held in memory.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from medcritical.data.report import quote
from medcritical.errors import DataError

# The longer marks first: UTF-32-LE begins with the mark of UTF-16-LE.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_FOREIGN = {
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer: the data was not downloaded; run `git lfs pull`",
    b"PK\x03\x04": "a zip archive or spreadsheet: unpack it or export it as text",
    b"\x1f\x8b": "a gzip file: decompress it",
    b"\xfd7zXZ": "an xz file: decompress it",
    b"BZh": "a bzip2 file: decompress it",
    b"\xd0\xcf\x11\xe0": "a spreadsheet: export it as text",
    b"PAR1": "a Parquet file: export it in the upstream form",
}
_WEB_PAGE = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)

_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One record: `value` is its object, or `fault` says why it has none. `name` is its key in a JSON object."""

    number: int
    value: dict[str, Any]
    fault: str = ""
    name: str = ""


def read_text(path: Path, encoding: str) -> str:
    """The text of `path`; a byte order mark wins over the stated encoding.

    Raises:
        DataError: the file is empty, is something else than text, or is not in that encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not data.strip():
        raise DataError(f"{path} is empty.")
    for start, what in _FOREIGN.items():
        if data.startswith(start):
            raise DataError(f"{path} is {what}.")
    if _WEB_PAGE.match(data):
        raise DataError(f"{path} is a web page: the download gave no data.")
    mark = next((mark for mark in _MARKS if data.startswith(mark)), None)
    if mark is None:
        _refuse_unstated_utf8(data, encoding, path)
    text = _decode(data, _MARKS[mark] if mark else encoding, path)
    if not text.strip():
        raise DataError(f"{path} is empty.")
    if "\0" in text:
        raise DataError(f"{path} contains NUL bytes: it is damaged, or UTF-16 whose encoding must be stated.")
    return text


def _decode(data: bytes, encoding: str, path: Path) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise DataError(
            f"{path} is not {encoding}: byte 0x{byte:02x} at offset {error.start} cannot be decoded. "
            "State the encoding of the file, for example gb18030."
        ) from error
    except (LookupError, UnicodeError) as error:
        raise DataError(f"{encoding!r} is not a text encoding; use for example utf-8 or gb18030.") from error


def _refuse_unstated_utf8(data: bytes, encoding: str, path: Path) -> None:
    """gb18030 and latin-1 decode UTF-8 into wrong characters without complaint: valid UTF-8 is never read as them."""
    try:
        is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
    except LookupError:
        return
    if is_utf8 or data.isascii():
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return
    raise DataError(f"{path} is valid UTF-8, so reading it as {encoding} would garble it: set the encoding to utf-8.")


def read_csv(text: str, path: Path, required: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV with a header, by column name (case and spaces around names do not count).

    Raises:
        DataError: a required column is absent or occurs twice.
    """
    records = _split_csv(text)
    names = next(records, ([], ""))[0]
    header = [name.strip().casefold() for name in names]
    missing = [name for name in required if header.count(name) != 1]
    if missing:
        raise DataError(
            f"{path} needs the columns {', '.join(required)}, each once; {', '.join(missing)} is missing or repeated. "
            f"It has {', '.join(map(quote, names[:20]))}."
        )
    yield from _number_csv(records, header)


def read_headerless_csv(text: str, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV without a header, whose cells are named by `columns`."""
    yield from _number_csv(_split_csv(text), columns)


def _number_csv(records: Iterator[tuple[list[str], str]], columns: Sequence[str]) -> Iterator[Row]:
    for number, (cells, fault) in enumerate(records, start=1):
        if len(cells) != len(columns):
            shifted = f"{len(cells)} cells where {len(columns)} are expected"
            fault = f"{shifted} ({fault})" if fault else shifted
        yield Row(number, {} if fault else dict(zip(columns, cells, strict=True)), fault)


def _split_csv(text: str) -> Iterator[tuple[list[str], str]]:
    """Cells of each record and what is wrong with its quoting.

    The lenient reader finds where a record ends, also a broken one; the strict reader then judges those lines alone,
    so that a quote that was not doubled costs one record and is never repaired by guessing.
    """
    csv.field_size_limit(2**31 - 1)  # the default, 131,072, is shorter than real explanations
    taken: list[str] = []

    def take_lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    for cells in csv.reader(take_lines()):
        fault = ""
        try:
            next(csv.reader(taken, strict=True))
        except csv.Error as error:
            fault = f"broken quoting: {error}"
        taken.clear()
        if cells:
            yield cells, fault


class _RepeatedKeys(dict[str, Any]):
    """A JSON object in which a key occurs more than once; `pairs` has them all."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


class _NotJson:
    """Stands where a file has NaN or Infinity."""


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else _RepeatedKeys(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_make_object, parse_constant=lambda _: _NotJson())


def _find_fault(value: Any) -> str:
    """What makes a decoded value unusable though Python's decoder takes it; empty for a sound one."""
    if isinstance(value, _NotJson):
        return "NaN or Infinity, which JSON does not have"
    if isinstance(value, str):
        return "half of a surrogate pair, which no encoding can write" if _SURROGATE.search(value) else ""
    if isinstance(value, _RepeatedKeys):
        keys = [key for key, _ in value.pairs]
        return f"key {quote(next(key for key in keys if keys.count(key) > 1))} occurs more than once"
    children = chain(value, value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((fault for fault in map(_find_fault, children) if fault), "")


def _make_row(number: int, value: Any, name: str = "") -> Row:
    try:
        fault = _find_fault(value)
    except RecursionError:  # the decoder goes deeper than Python's own calls
        fault = "JSON nested too deeply"
    if not fault and not isinstance(value, dict):
        fault = f"not a JSON object but {quote(value)}"
    return Row(number, {} if fault else value, fault, name)


def read_jsonl(text: str) -> Iterator[Row]:
    """Rows of one JSON object per line."""
    # Not splitlines: JSON strings may hold U+2028 and other characters that it takes for line ends, but no bare \r.
    for number, line in enumerate(text.split("\n" if "\n" in text else "\r"), start=1):
        if not line.strip():
            continue
        try:
            yield _make_row(number, _DECODER.decode(line.strip()))
        except json.JSONDecodeError as error:
            yield Row(number, {}, f"not valid JSON at column {error.colno}: {error.msg}")
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"not readable JSON: {error}")


def read_json(text: str, path: Path) -> Iterator[Row]:
    """Rows of one JSON array, or of one JSON object whose values are the records, named by their keys.

    Raises:
        DataError: the file is not valid JSON as a whole; nothing of it is loaded.
    """
    try:
        whole = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON: line {error.lineno} column {error.colno}: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}.") from error
    if isinstance(whole, list):
        yield from (_make_row(number, value) for number, value in enumerate(whole, start=1))
    elif isinstance(whole, dict):
        pairs = whole.pairs if isinstance(whole, _RepeatedKeys) else list(whole.items())
        yield from (_make_row(number, value, name) for number, (name, value) in enumerate(pairs, start=1))
    else:
        raise DataError(f"{path} holds {quote(whole)}, neither a JSON array nor an object of records.")


def read_json_or_jsonl(text: str, path: Path) -> Iterator[Row]:
    """Rows of a JSON array, or of one object per line: copies of the same data come in both shapes."""
    return read_json(text, path) if text.lstrip().startswith("[") else read_jsonl(text)
