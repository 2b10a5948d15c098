"""Cleaning: what goes, what stays, and that every change is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.data.normalise import (
    clean_explanation,
    clean_option,
    clean_text,
    is_placeholder,
    read_letters,
    read_options,
    split_label,
    split_options,
)
from medcritical.data.report import RejectedRow


@pytest.mark.parametrize(
    ("text", "cleaned", "kinds"),
    [
        ("  plain ½ ㎎ Ⅲ  ", "plain ½ ㎎ Ⅲ", set()),
        ("a\u200bb\x1b[0m\u202e", "ab[0m", {"control or zero-width characters"}),
        ("tab\tand\nline", "tab\tand\nline", set()),
        ("a\r\nb\rc", "a\nb\nc", {"carriage returns"}),
        ("p &lt; 0.05 &amp;lt;", "p < 0.05 &lt;", {"HTML entities"}),
        ("AT&T &copy 2020", "AT&T &copy 2020", set()),
        ("10<sup>3</sup>/mm<sup>3</sup> of Na<sup>+</sup>", "10^3/mm3 of Na+", {"HTML tags"}),
        ("one<br/>two<BR>three", "one\ntwo\nthree", {"HTML tags"}),
        ("<b>not</b> a <b and c> d, x<y>z", "not a <b and c> d, x<y>z", {"HTML tags"}),
        ("<|im_end|><answer>C</answer>", "<|im_end|><answer>C</answer>", set()),
    ],
)
def test_clean_text(text: str, cleaned: str, kinds: set[str]) -> None:
    changes: set[str] = set()
    assert clean_text(text, changes) == cleaned
    assert changes == kinds


@given(st.text(alphabet=st.characters(exclude_characters="<&\r", exclude_categories=["Cc", "Cf", "Cs"])))
def test_ordinary_text_only_loses_outer_spaces(text: str) -> None:
    changes: set[str] = set()
    assert clean_text(text, changes) == text.strip()
    assert changes == set()


def test_upstream_slips_are_mended_and_named() -> None:
    changes: set[str] = set()
    assert clean_option('Propranolol\n"', changes) == "Propranolol"
    assert clean_option('the "quoted"', changes) == 'the "quoted"'
    assert clean_explanation("请等待更新。", changes) == ""
    assert changes == {"stray quotation mark after an option", "placeholder for an explanation"}


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "NULL", "None", "N/A", "/", "无", "暂无解析。", "请等待更新"])
def test_placeholders(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize("text", ["无痛性肿块", "nancy", "A", "-1", "0"])
def test_no_placeholders(text: str) -> None:
    assert not is_placeholder(text)


@pytest.mark.parametrize(
    ("text", "letters"),
    [("b", "B"), (" (C) ", "C"), ("Ａ、Ｄ", "AD"), ("D B A", "ABD"), ("A,B,A", "AB"), ("J", "J"), ("C.", "C")],
)
def test_read_letters(text: str, letters: str) -> None:
    assert read_letters(text) == letters


@pytest.mark.parametrize("text", ["1", "А (Cyrillic)", "对", "A1", "-"])
def test_other_than_letters_is_rejected(text: str) -> None:
    with pytest.raises(RejectedRow):
        read_letters(text)


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("A text", ("A", "text")),
        ("A .5 ml", ("A", ".5 ml")),
        ("b. text", ("B", "text")),
        ("Ｃ、text", ("C", "text")),
        ("（D）text", ("D", "text")),
        ("(E) text with spaces", ("E", "text with spaces")),
        ("B超检查", None),
        ("text", None),
    ],
)
def test_split_label(line: str, label: tuple[str, str] | None) -> None:
    assert split_label(line) == label


def test_split_options_never_guesses() -> None:
    assert split_options("A x\nC y", set()) == {"A": "x", "C": "y"}
    assert split_options("A 3\\nu m\nB y", set())["A"] == "3\\nu m"
    with pytest.raises(RejectedRow, match="without a label"):
        split_options("A 心电图\nB超检查\nC CT", set())
    with pytest.raises(RejectedRow, match="one letter"):
        split_options("A x\na y", set())


def test_read_options_takes_three_shapes() -> None:
    expected = {"A": "x", "B": "y"}
    assert read_options({"a": "x", "(B)": "y", "C": None}, set()) == expected
    assert read_options(["x", "y"], set()) == expected
    assert read_options([{"key": "A", "value": "x"}, {"key": "B", "value": "y"}], set()) == expected


@pytest.mark.parametrize("options", [None, "A x", {"1": "x"}, {"A": 0.5, "B": "y"}, {"A": "x", "a": "y"}, [["x"]]])
def test_read_options_rejects_other_shapes(options: object) -> None:
    with pytest.raises(RejectedRow):
        read_options(options, set())


def test_labels_repeated_in_listed_options_leave_the_texts() -> None:
    changes: set[str] = set()
    assert read_options(["A. x", "(B) y", "C、z"], changes) == {"A": "x", "B": "y", "C": "z"}
    assert changes == {"label repeated in the option text"}
    named = {"A": "E. coli", "B": "B. cereus", "C": "C. difficile"}  # names, since not all are labels
    assert read_options(named, set()) == named
