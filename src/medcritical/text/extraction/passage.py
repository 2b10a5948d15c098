"""One notation for text and options: folded width, a lower-case twin, options by letter and by text."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

# Full-width ASCII becomes ASCII and typographic quotes and dashes become plain ones. Nothing is deleted: options are
# told apart by signs such as < > + -. U+0130 is the one character whose lower case has another length.
_FOLD: dict[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_FOLD |= dict.fromkeys(map(ord, "“”„«»「」『』"), '"') | dict.fromkeys(map(ord, "‘’"), "'")
_FOLD |= (
    dict.fromkeys(map(ord, "–—−‐‑"), "-")
    | dict.fromkeys(map(ord, "【〔［"), "[")
    | dict.fromkeys(map(ord, "】〕］"), "]")
)
_FOLD |= {0x3008: "<", 0x3009: ">", 0x3000: " ", 0xA0: " ", 0x130: "I"}
_FOLD |= {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x24B6, 0x24EA)}  # circled letters
# The mathematical alphabets, which models write for bold letters: apart, since a class that holds them is slow.
_ALPHABETS = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D6A4)}
_ESCAPED_SIGN = re.compile("&(?:lt|gt|amp|quot|nbsp|#39);")
_STRUCK_OUT = re.compile("~~[^~\n]{1,200}~~")
_IN_ALPHABETS = re.compile("[\U0001d400-\U0001d6a3]")
_FOLDED = re.compile(f"[{re.escape(''.join(map(chr, _FOLD)))}]")

_EDGES = " \t\r\n.。;；,，\"'"
_SIGNS = frozenset("+-<>=%±×÷^")
_LONG_BLANK = re.compile(r"[ \t]{3,}")
_MANY_BREAKS = re.compile(r"\n\s{2,}")


def fold(text: str) -> str:
    """Returns the text in one notation of widths, quotes and dashes; long runs of blanks are shortened."""
    if "&" in text:
        text = _ESCAPED_SIGN.sub(lambda found: html.unescape(found[0]), text)
    if "~~" in text:
        text = _STRUCK_OUT.sub(" ", text)
    if not text.isascii():
        if _FOLDED.search(text):
            text = text.translate(_FOLD)
        if _IN_ALPHABETS.search(text):
            text = text.translate(_ALPHABETS)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "   " in text:
        text = _LONG_BLANK.sub("  ", text)
    return _MANY_BREAKS.sub("\n\n", text) if "\n\n" in text or "\n " in text else text


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one item: `letters` in the order shown, `texts` folded and lower-case, and longest text first."""

    letters: str
    texts: dict[str, str]
    by_length: tuple[tuple[str, str], ...]

    def text_at(self, lowered: str, start: int) -> tuple[str, int] | None:
        """Returns (letter, end) of the longest option text that begins at `start`, or None.

        The letter is "" where two options share that text. Where a letter, digit or sign goes on, it is another text.
        """
        for text, letter in self.by_length:
            if lowered.startswith(text, start):
                end = start + len(text)
                if not _goes_on(lowered, end):
                    return letter, end
        return None

    def text_before(self, lowered: str, end: int) -> str | None:
        """Returns the letter ("" if shared) of the longest option text that ends at `end`, or None."""
        for text, letter in self.by_length:
            start = end - len(text)
            if start >= 0 and lowered.startswith(text, start) and not _is_continuation(lowered, start):
                return letter
        return None

    def exact(self, lowered: str) -> str | None:
        """Returns the letter whose text this is, up to edge punctuation; "" if several options share it, else None."""
        wanted = lowered.strip(_EDGES)
        for text, letter in self.by_length:
            if text == wanted:
                return letter
        return None

    def order(self, number: int) -> str:
        """Returns the letter of the option with this number, counted from 1 (-1: the last); "" if there is none."""
        if number == -1:
            return self.letters[-1]
        return self.letters[number - 1] if 1 <= number <= len(self.letters) else ""


def _goes_on(text: str, end: int) -> bool:
    """True when a word, number or sign continues across `end`. Chinese shows no such edge: the caller checks it."""
    if end >= len(text):
        return False
    after = text[end]
    if after.isascii() and after.isalnum():
        return text[end - 1].isascii() and text[end - 1].isalnum()
    return after in _SIGNS and not text.startswith(("</", "<|", "- ", "--"), end)


def _is_continuation(text: str, start: int) -> bool:
    if start == 0:
        return False
    before = text[start - 1]
    if before.isascii() and before.isalnum():
        return text[start].isascii() and text[start].isalnum()
    return before in _SIGNS and not text.startswith((">", "- "), start - 1)


@lru_cache(maxsize=4096)
def _build_options(items: tuple[tuple[str, str], ...]) -> Options:
    # All texts are folded in one go: items that come once, as a set of questions does, should not pay for each option.
    folded = fold("\0".join(text.replace("\0", " ") for _, text in items)).lower().split("\0")
    texts = {letter.upper(): text.strip(_EDGES) for (letter, _), text in zip(items, folded, strict=True)}
    owners: dict[str, str] = {}
    for letter, text in texts.items():
        if text:
            owners[text] = "" if text in owners else letter
    by_length = tuple((text, owners[text]) for text in sorted(owners, key=len, reverse=True))
    return Options(letters="".join(texts), texts=texts, by_length=by_length)


@dataclass(frozen=True, slots=True)
class Passage:
    """Folded text, its lower-case twin (the same length, so positions are shared) and the item's options."""

    text: str
    lowered: str
    options: Options

    def slice(self, start: int, end: int | None = None) -> Passage:
        """Returns the part from `start` to `end`."""
        return Passage(self.text[start:end], self.lowered[start:end], self.options)


def build_options(options: Mapping[str, str]) -> Options:
    """Returns the options folded for matching; the same item is folded once."""
    return _build_options(tuple(options.items()))


def build_passage(text: str, options: Options) -> Passage:
    """Returns folded text ready for reading."""
    folded = fold(text)
    return Passage(folded, folded.lower(), options)
