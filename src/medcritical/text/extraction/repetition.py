"""Cut what a response merely repeats: the prompt's option list, and quotations such as an instruction in the stem."""

from __future__ import annotations

import re

from medcritical.text.extraction.passage import Passage

# Characters put in place of what was cut: no rule reads across them.
CUT = "\0"
QUOTED = "\1"

_LABEL = r"[\s.。;,、\"'|*\-]{{0,6}}[(\[]?{letter}[.:、)\]\s*|\-]{{1,4}}[\"']{{0,3}}"
_FIRST_LABEL = r"(?<![a-z0-9])[(\[]?{letter}[.:、)\]\s*|\-\"']{{1,6}}\Z"
_MAX_PLACES = 8

_QUOTATION = re.compile(r'"[^"\n]{2,400}"|(?<![a-z0-9])\'[^\'\n]{4,300}\'(?![a-z0-9])')
_LONE_LETTER = re.compile(r"(?<![a-z0-9])[a-z](?![a-z0-9])")
_LETTER_FIRST = re.compile(r"[\"']\s?[(\[]?[a-z]\s?[.:、)\]]\s?\S")
_KEY_AFTER = re.compile(r"[\"']\s?:")
_OWN_ANSWER = re.compile(
    r"(?:answer|choice|response|reply|option|select|choose|pick|答案|回答|选项|选择?|结论)(?:\sis|\swould\sbe)?[\s:是为=]{0,4}\Z"
)


def cut_echo(passage: Passage) -> tuple[Passage, bool]:
    """Returns (the passage without an echoed option list, whether there was one).

    All options in a row, each after its letter, are the prompt said again; so are the first ones where the text then
    ends. A shorter list is an answer of several letters.
    """
    texts = [text for text in passage.options.texts.values() if text]
    if sum(text in passage.lowered for text in texts) < 2:
        return passage, False
    span = _find_echo(passage)
    if span is None:
        return passage, False
    gap, (start, end) = f"\n{CUT}\n", span
    text, lowered = passage.text, passage.lowered
    return Passage(text[:start] + gap + text[end:], lowered[:start] + gap + lowered[end:], passage.options), True


def _find_echo(passage: Passage) -> tuple[int, int] | None:
    lowered, items = passage.lowered, list(passage.options.texts.items())
    first_letter, first_text = items[0]
    position = -1
    for _ in range(_MAX_PLACES):
        position = lowered.find(first_text, position + 1)
        if position < 0:
            return None
        before = lowered[max(0, position - 8) : position]
        label = re.search(_FIRST_LABEL.format(letter=first_letter.lower()), before)
        if label is None:
            continue
        end, count = _follow_list(lowered, position + len(first_text), items[1:])
        start = position - len(before) + label.start()
        if count == len(items) - 1:
            return start, end
        if count >= 1 and _breaks_off(lowered[end:], items[count + 1][0]):
            return start, len(lowered)
    return None


def _follow_list(lowered: str, end: int, items: list[tuple[str, str]]) -> tuple[int, int]:
    """Returns (end of the list, how many of `items` follow one another there)."""
    for count, (letter, text) in enumerate(items):
        label = re.match(_LABEL.format(letter=letter.lower()), lowered[end : end + 24])
        if label is None or not lowered.startswith(text, end + label.end()):
            return end, count
        end += label.end() + len(text)
    return end, len(items)


def _breaks_off(rest: str, next_letter: str) -> bool:
    is_next = re.match(rf"[\s.;,]{{0,4}}[(\[]?{next_letter.lower()}(?:[.:、)\]\s]|\Z)", rest) is not None
    return len(rest) < 200 and (not rest.strip() or is_next)


def cut_quotations(passage: Passage) -> Passage:
    """Returns the passage without quotations that name a letter, such as an instruction hidden in the stem.

    A quotation stays when it is the answer itself: introduced as one, a letter with its text, an option, or JSON.
    """
    lowered = passage.lowered
    if ('"' not in lowered and "'" not in lowered) or lowered.lstrip("` \njson")[:1] in ("{", "["):
        return passage
    return cut_spans(passage, [found.span() for found in _QUOTATION.finditer(lowered) if _is_foreign(passage, found)])


def cut_spans(passage: Passage, spans: list[tuple[int, int]]) -> Passage:
    """Returns the passage with these ordered, disjoint spans replaced by a mark that no rule reads across."""
    if not spans:
        return passage
    starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(passage.text)]
    text, lowered = (
        QUOTED.join(source[start:end] for start, end in zip(starts, ends, strict=True))
        for source in (passage.text, passage.lowered)
    )
    return Passage(text, lowered, passage.options)


def _is_foreign(passage: Passage, found: re.Match[str]) -> bool:
    start, end = found.span()
    if not _LONE_LETTER.search(found[0]) or len(found[0].strip("\"' .。")) == 1:
        return False
    if not (passage.lowered[:start] + passage.lowered[end:]).strip(" .。\n"):
        return False
    if _LETTER_FIRST.match(found[0]) or _KEY_AFTER.match(passage.lowered, end - 1):
        return False
    if passage.options.exact(found[0]) is not None:
        return False
    return _OWN_ANSWER.search(passage.lowered[max(0, start - 24) : start]) is None
