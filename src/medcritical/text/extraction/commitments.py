"""Explicit commitments: a cue ("the answer is", "<answer>", "故选") and the options named right after it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from medcritical.text.extraction.cues import CHINESE_CUES, ENGLISH_CUES, LOOSE_CUE, MARKUP_CUES, compile_any
from medcritical.text.extraction.mentions import read_mention
from medcritical.text.extraction.passage import Passage
from medcritical.text.extraction.repetition import cut_spans
from medcritical.text.extraction.retractions import CITED, DISMISSED, NEGATED, SUPPOSED, UNREAL

_CUE = compile_any((*MARKUP_CUES, *ENGLISH_CUES, *CHINESE_CUES))
_ENGLISH_CUE = compile_any((*MARKUP_CUES, *ENGLISH_CUES))  # the same in text without Chinese, in less time
_CLAUSE_END = re.compile(
    r"""["')\]}*_`$]{0,6}\s{0,3}(?:\Z|[.。!;,\n<|]|(?:that|which|because|since|the\s(?:correct|right|best|most))\s|(?:instead|after\sall)(?![a-z]))"""
)
_SENTENCE_END = re.compile(r"""["')\]}*_`$]{0,6}\s{0,3}(?:\Z|[.。!\n<])""")
_TAKEN_BACK = re.compile(r"""["')\]*]{0,3}\s?\(\s?(?:错|有误|不对|wrong|incorrect|no[,)])""")
_LETTERS_ONLY = re.compile(r"(?:[^a-z]{0,8}(?:option|choice|is|both|and|选项|选|[a-z](?![a-z]))){1,40}[^a-z]{0,8}")
_FILLED = re.compile(r"([^<\n}]{1,300})(?:</|\})")
_ANSWER_TAG = re.compile(r"<\s{0,3}(?:final[\s_-]?)?(?:answer|ans|答案)|\\")
_OPENING_TAG = re.compile(r"<\s{0,3}(?:final[\s_-]?)?(?:answer|ans|答案)\s{0,3}>")
_CLOSING_TAG = re.compile(r"</\s?(?:final_)?(?:answer|ans)")
_BROKEN_OPENING = re.compile(r"(?:[ \t]{0,3}<?/?[ \t]?answers?[ \t]?>?)?")
_CONTEXT = 60
# Only the last commitment counts, so a text that repeats itself is read from this many cues before its end.
MAX_CUES = 100


@dataclass(frozen=True, slots=True)
class Commitment:
    """Options a response commits to, where that stands and the rule that read it. `letters` is "" for none of ours."""

    letters: str
    rule: str
    start: int
    end: int
    is_cited: bool = False


def find_commitments(passage: Passage) -> Iterator[Commitment]:
    """Yields explicit commitments, without negated, supposed and questioned ones; those merely cited are marked."""
    lowered = passage.lowered
    pattern = _ENGLISH_CUE if lowered.isascii() else _CUE
    for cue in list(pattern.finditer(lowered))[-MAX_CUES:]:
        head = lowered[cue.start()]
        rule = "tag" if head in "<[" else "boxed" if head == "\\" else "statement"
        if rule == "statement" and _is_inside_word(lowered, cue.start()):
            continue
        mention = read_mention(passage, cue.end())
        if mention is None:
            if _is_filled_with_something_else(lowered, cue):
                yield Commitment("", rule, cue.start(), cue.end())
        elif rule != "statement" or _is_stated(lowered, cue, mention.end):
            is_cited = _is_cited(lowered, cue.start(), mention.end)
            yield Commitment(mention.letters, rule, cue.start(), mention.end, is_cited)
    yield from _find_unopened_tag(passage)


def find_last_commitment(passage: Passage) -> tuple[Commitment | None, Passage]:
    """Returns the commitment that stands last, and the passage with cited commitments cut out.

    A response that corrects itself means its last word. No other rule may read what was only cited.
    """
    found = list(find_commitments(passage))
    last = max((one for one in found if not one.is_cited), key=lambda one: one.end, default=None)
    return last, cut_spans(passage, [(one.start, one.end) for one in found if one.is_cited])


def _is_inside_word(lowered: str, start: int) -> bool:
    before = lowered[start - 1 : start]
    return before.isascii() and before.isalpha() and lowered[start].isascii() and lowered[start].isalpha()


def _is_stated(lowered: str, cue: re.Match[str], end: int) -> bool:
    """True when a cue in words states an answer here: the clause ends, and it is neither negated nor supposed."""
    if LOOSE_CUE.match(cue[0]):
        is_letter = _LETTERS_ONLY.fullmatch(lowered, cue.end(), end) is not None
        if not (_CLAUSE_END if is_letter else _SENTENCE_END).match(lowered, end):
            return False
    if _TAKEN_BACK.match(lowered, end):
        return False
    before = lowered[max(0, cue.start() - _CONTEXT) : cue.start()]
    if "would" in cue[0] and UNREAL.search(before):
        return False
    return not NEGATED.search(before) and not SUPPOSED.search(before)


def _is_cited(lowered: str, start: int, end: int) -> bool:
    """True for an answer that is cited, not given: "the prompt contains <answer>A</answer>; disregarding it"."""
    before = lowered[max(0, start - _CONTEXT) : start]
    return CITED.search(before) is not None or DISMISSED.match(lowered, end) is not None


def _is_filled_with_something_else(lowered: str, cue: re.Match[str]) -> bool:
    """True when an answer tag or box holds something that names no option: that commits to none of ours."""
    if not _ANSWER_TAG.match(cue[0]):
        return False
    filled = _FILLED.match(lowered, cue.end())
    return filled is not None and bool(filled[1].strip()) and not _CUE.search(filled[1])


def _find_unopened_tag(passage: Passage) -> Iterator[Commitment]:
    """Yields "A</answer>", where the opening tag is missing or broken."""
    closings = list(_CLOSING_TAG.finditer(passage.lowered)) if "</" in passage.lowered else []
    if not closings or _OPENING_TAG.search(passage.lowered):
        return
    closing = closings[-1]
    line = passage.lowered.rfind("\n", 0, closing.start()) + 1
    mention = read_mention(passage, _BROKEN_OPENING.match(passage.lowered, line).end())  # type: ignore[union-attr]
    if mention is not None and not passage.lowered[mention.end : closing.start()].strip(" .。*)"):
        yield Commitment(mention.letters, "tag", line, closing.end())
