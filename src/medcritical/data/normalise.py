"""Cell texts to clean texts, letters and options. Every change is named in `changes`, so that a report can count it.

Content keeps its own characters: compatibility folding (NFKC) touches labels and answers only, since on content it
would turn ½ into 1⁄2 and ㎎ into mg. Text from data is never interpreted.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

from medcritical.data.report import RejectedRow, quote
from medcritical.records import LETTERS

# Controls but tab and newline, soft hyphen, and everything of no width: joiners, direction marks, tags, BOM.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_POWER = re.compile(r"(?<=\d)<sup>\s*([-+−]?\d+)\s*</sup>", re.IGNORECASE)
# Closed lists, one-letter tags only in pairs: "a <b and c> d" is a comparison.
_TAG = re.compile(r"</?(?:sup|sub|em|strong|span|div|font)(?:\s+[\w-]+\s*=[^<>]*)?\s*/?>", re.IGNORECASE)
_PAIRED_TAG = re.compile(r"<([biup])>(.*?)</\1>", re.IGNORECASE | re.DOTALL)

_PLACEHOLDERS = frozenset(
    ["", "nan", "null", "none", "n/a", "na", "/", "\\", "-", "--", "—", "——", "无", "暂无", "略", "暂略", "待补充"]
) | {"暂无解析", "无解析", "暂无解释", "请等待更新", "等待更新", "待更新"}
_LABEL = re.compile(
    r"""\s*(?:[(（\[【]\s*(?P<bracketed>[A-Za-zＡ-Ｚａ-ｚ])\s*[)）\]】]\s*[.．、:：]?\s*   # (A) text
          |(?P<spaced>[A-Za-zＡ-Ｚａ-ｚ])\s+                                             # A text
          |(?P<marked>[A-Za-zＡ-Ｚａ-ｚ])[.．、:：)）,，]\s*)(?P<text>.*)""",  # A. text
    re.VERBOSE | re.DOTALL,
)
# A label that cannot be the beginning of the text: "A. text", "(A) text"; of "A text" nobody knows.
_OWN_LABEL = re.compile(
    r"\s*(?:[(（]\s*(?P<bracketed>[A-Za-z])\s*[)）]|(?P<marked>[A-Za-z])[.．、:：)）])\s*(?P<text>\S.*)", re.DOTALL
)
# The two characters backslash and n, where a label follows: elsewhere they may be content, as in \nu.
_LITERAL_BREAK = re.compile(r"\\n(?=\s*[(（\[【]?[A-Za-zＡ-Ｚａ-ｚ][\s.．、:：)）\]】,，])")
_ANSWER_SEPARATORS = re.compile(r"[\s,，、;；/|&+.。()（）\[\]【】:：]+")


def clean_text(text: str, changes: set[str]) -> str:
    """`text` without markup, entities, control and zero-width characters, and outer spaces; line ends are \\n."""
    # Nearly all text needs none of this, and a scan for one character is cheap.
    if "<" in text:
        text = _note(_drop_tags(text), text, "HTML tags", changes)
    if "&" in text:
        text = _note(_ENTITY.sub(lambda match: html.unescape(match[0]), text), text, "HTML entities", changes)
    if "\r" in text:
        text = _note(text.replace("\r\n", "\n").replace("\r", "\n"), text, "carriage returns", changes)
    return _note(_INVISIBLE.sub("", text), text, "control or zero-width characters", changes).strip()


def _note(new: str, old: str, kind: str, changes: set[str]) -> str:
    if new != old:
        changes.add(kind)
    return new


def _drop_tags(text: str) -> str:
    text = _LINE_BREAK.sub("\n", text)
    text = _POWER.sub(r"^\1", text)  # 10<sup>3</sup> is not 103
    return _PAIRED_TAG.sub(r"\2", _TAG.sub("", text))


def clean_option(text: str, changes: set[str]) -> str:
    """`clean_text`, and without the line break and quotation mark that upstream left after some MedQA options."""
    text = clean_text(text, changes)
    return _note(text.removesuffix('\n"'), text, "stray quotation mark after an option", changes).strip()


def clean_explanation(text: str, changes: set[str]) -> str:
    """`clean_text`; empty where upstream wrote a placeholder such as nan, NULL or 请等待更新."""
    text = clean_text(text, changes)
    return _note("" if is_placeholder(text) else text, text, "placeholder for an explanation", changes)


def is_placeholder(text: str) -> bool:
    """True for nothing and for what spreadsheets and annotators write for nothing."""
    return unicodedata.normalize("NFKC", text).strip(" \t\n.。!！").casefold() in _PLACEHOLDERS


def read_letters(text: str) -> str:
    """Sorted letters of an answer such as "B", "(c)", "Ａ、Ｂ", "D B A"; a letter given twice counts once.

    Raises:
        RejectedRow: it is something else than letters.
    """
    letters = _ANSWER_SEPARATORS.sub("", unicodedata.normalize("NFKC", text)).upper()
    if not letters or any(letter not in LETTERS for letter in letters):
        raise RejectedRow("answer is not letters", quote(text))
    return "".join(sorted(set(letters)))


def read_label(text: str) -> str:
    """The letter of an option label such as "A", "a", "Ａ", "(A)" or "A.".

    Raises:
        RejectedRow: it is not one letter; labels are never re-assigned.
    """
    letter = _ANSWER_SEPARATORS.sub("", unicodedata.normalize("NFKC", text)).upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise RejectedRow("option label is not a letter", quote(text))
    return letter


def split_label(line: str) -> tuple[str, str] | None:
    """Letter and text of a line such as "A text", "A. text", "A、text" or "（A）text"; None without a label."""
    match = _LABEL.fullmatch(line)
    if match is None:
        return None
    return read_label(match["bracketed"] or match["spaced"] or match["marked"]), match["text"]


def has_bare_label(line: str) -> bool:
    """True where nothing but a space sets the label off ("A text"), so that the letter may be a word or a quantity."""
    match = _LABEL.fullmatch(line)
    return match is not None and match["spaced"] is not None


def split_options(cell: str, changes: set[str]) -> dict[str, str]:
    """Letter to text of a cell with one labelled option per line.

    Raises:
        RejectedRow: a line has no label or a label comes twice. A line is never added to its neighbour by guessing.
    """
    if "\n" not in cell.strip():
        cell = _note(_LITERAL_BREAK.sub("\n", cell), cell, "literal \\n between options", changes)
    options: dict[str, str] = {}
    for line in clean_text(cell, changes).split("\n"):
        if not line.strip():
            continue
        labelled = split_label(line)
        if labelled is None:
            raise RejectedRow("option line without a label", quote(line))
        add_option(options, *labelled)
    return options


def read_options(value: Any, changes: set[str]) -> dict[str, str]:
    """Letter to text of options in JSON: {letter: text}, [text, ...], or [{"key": letter, "value": text}, ...].

    A null text is an absent option; its letter stays free. A plain list gets letters in order. Where every text begins
    with its own letter ("A. text"), these labels leave the texts.

    Raises:
        RejectedRow: it has none of these shapes, or two options have one letter.
    """
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
        pairs = [(item.get("key"), item.get("value")) for item in value]
    elif isinstance(value, list) and len(value) <= len(LETTERS):
        pairs = list(zip(LETTERS, value, strict=False))
    else:
        raise RejectedRow("options have an unknown shape", quote(value))
    options: dict[str, str] = {}
    for label, text in pairs:
        if not isinstance(label, str) or not (isinstance(text, str) or text is None):
            raise RejectedRow("option is not a letter and a text", quote((label, text)))
        if text is not None:
            add_option(options, read_label(label), text)
    return _drop_repeated_labels(options, changes)


def _drop_repeated_labels(options: dict[str, str], changes: set[str]) -> dict[str, str]:
    bare = {letter: without_label(text, letter) for letter, text in options.items()}
    if len(bare) < 3 or any(bare[letter] == text for letter, text in options.items()):  # "E. coli" is a name
        return options
    changes.add("label repeated in the option text")
    return bare


def without_label(text: str, letter: str) -> str:
    """`text` without this letter as its label, as in "A. text" or "(A) text"; unchanged where it has none."""
    found = _OWN_LABEL.match(text)
    return found["text"] if found and letter in (found["bracketed"], found["marked"]) else text


def add_option(options: dict[str, str], letter: str, text: str) -> None:
    """Puts one option among `options`.

    Raises:
        RejectedRow: the letter is taken.
    """
    if letter in options:
        raise RejectedRow("two options have one letter", letter)
    options[letter] = text
