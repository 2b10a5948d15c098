"""Which of the two languages of this program a text is in."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Za-z]{2,}")
_IDEOGRAPH = re.compile("[\u3400-\u9fff]")


def is_in_language(text: str, language: str) -> bool:
    """True when a text is in `language` (en or zh) by the greater part of its words.

    An ideograph counts as a word, so Chinese may hold English terms and drug names, and English a quoted term.
    A text without words is in every language.
    """
    num_ideographs, num_words = len(_IDEOGRAPH.findall(text)), len(_WORD.findall(text))
    if num_ideographs == num_words:
        return True
    return (num_ideographs > num_words) == (language == "zh")
