"""Files to numbered rows: encodings, broken records, and files that are something else."""

import codecs
from pathlib import Path

import pytest

from medcritical.data.rows import read_csv, read_headerless_csv, read_json, read_json_or_jsonl, read_jsonl, read_text
from medcritical.errors import DataError

PATH = Path("exam.json")


def write(folder: Path, data: bytes) -> Path:
    path = folder / "exam.csv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark_wins_over_the_stated_encoding(tmp_path: Path, encoding: str) -> None:
    assert read_text(write(tmp_path, "题,Ⅲ型".encode(encoding)), "gb18030") == "题,Ⅲ型"


def test_stated_encoding_is_used(tmp_path: Path) -> None:
    assert read_text(write(tmp_path, "题干".encode("gb18030")), "gb18030") == "题干"


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"stem\xff\xfe", "utf-8", "byte 0xff at offset 4"),
        ("题干".encode(), "gb18030", "is valid UTF-8"),
        ("plain".encode("utf-16-le"), "utf-8", "NUL bytes"),
        (b"x", "no-such-codec", "not a text encoding"),
        (b"x", "rot13", "not a text encoding"),
        (b" \r\n", "utf-8", "is empty"),
        (codecs.BOM_UTF16_LE + b"x", "utf-8", "utf-16"),
        (b"PK\x03\x04....", "utf-8", "zip archive or spreadsheet"),
        (b"<!DOCTYPE html><html>", "utf-8", "web page"),
        (b"\n<!doctype HTML>", "utf-8", "web page"),
        (b"\xfd7zXZ\x00", "utf-8", "xz file"),
        (codecs.BOM_UTF8, "utf-8", "is empty"),
    ],
)
def test_unreadable_files_are_refused_with_a_reason(tmp_path: Path, data: bytes, encoding: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_text(write(tmp_path, data), encoding)


def test_csv_is_read_by_name_and_numbered_after_the_header() -> None:
    rows = list(read_csv("b, A ,c\n1,2,3\n\n4,5,6\n", PATH, ("a", "b")))
    assert [(row.number, row.value) for row in rows] == [
        (1, {"b": "1", "a": "2", "c": "3"}),
        (2, {"b": "4", "a": "5", "c": "6"}),
    ]


@pytest.mark.parametrize("header", ["a,c", "a,b,B"])
def test_csv_needs_each_column_once(header: str) -> None:
    with pytest.raises(DataError, match=r"needs the columns a, b, each once; b is missing or repeated\. It has 'a'"):
        list(read_csv(f"{header}\n", PATH, ("a", "b")))


def test_one_broken_quote_costs_one_record() -> None:
    rows = list(read_headerless_csv('"a"x",1\n"b ""q"", c",2\n"open,3\n', ("text", "number")))
    assert [bool(row.fault) for row in rows] == [True, False, True]
    assert rows[1].value == {"text": 'b "q", c', "number": "2"}


def test_file_cut_inside_a_quoted_cell_is_not_taken_for_whole() -> None:
    rows = list(read_headerless_csv('a,"whole"\nb,"cut in the mid', ("text", "more")))
    assert rows[0].value == {"text": "a", "more": "whole"}
    assert "unexpected end of data" in rows[1].fault


def test_jsonl_counts_blank_lines_and_keeps_line_separators_inside_strings() -> None:
    rows = list(read_jsonl('\n{"a": "x\u2028y"}\n  \n{"a": 1, "a": 2}\n{"a": Infinity}\n[]\n{"a": "\\ud800"}\n'))
    assert [row.number for row in rows] == [2, 4, 5, 6, 7]
    assert rows[0].value == {"a": "x\u2028y"}
    faults = ["", "'a' occurs more than once", "NaN or Infinity", "not a JSON object", "surrogate"]
    assert all(words in row.fault for row, words in zip(rows, faults, strict=True))


def test_too_deep_json_is_a_fault_not_a_crash() -> None:
    deep = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"
    assert next(iter(read_jsonl(deep))).fault
    with pytest.raises(DataError, match="not readable JSON"):
        list(read_json(deep, PATH))


@pytest.mark.parametrize("depth", [500, 900])
def test_json_that_the_decoder_takes_but_is_too_deep_costs_one_record(depth: int) -> None:
    deep = '{"a": ' + "[" * depth + "]" * depth + "}"
    for rows in (read_json(f'[{deep}, {{"a": 1}}]', PATH), read_jsonl(f'{deep}\n{{"a": 1}}\n')):
        bad, good = rows
        assert "deep" in bad.fault or "recursion" in bad.fault
        assert (bad.value, good.fault, good.value) == ({}, "", {"a": 1})


def test_json_object_keeps_both_copies_of_a_key() -> None:
    rows = list(read_json('{"1": {"q": "x"}, "1": {"q": "y"}}', PATH))
    assert [(row.number, row.name, row.value) for row in rows] == [(1, "1", {"q": "x"}), (2, "1", {"q": "y"})]


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2}]', '{"a": 1}\n{"a": 2}\n'])
def test_array_and_lines_give_the_same_rows(text: str) -> None:
    assert [row.value for row in read_json_or_jsonl(text, PATH)] == [{"a": 1}, {"a": 2}]


def test_json_that_holds_no_records_is_refused() -> None:
    with pytest.raises(DataError, match="neither a JSON array nor an object"):
        list(read_json("42", PATH))
