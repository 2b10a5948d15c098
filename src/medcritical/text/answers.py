"""Read the answer out of a response: which options the model commits to, or None.

A wrong letter is worse than none (it becomes a false training signal), so every rule needs a commitment: a letter that
merely occurs is no answer. The steps: drop thinking, cut at the next question, drop the echoed option list and
quotations; then the last explicit commitment wins, then judgements of options, then answers without any cue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medcritical.text.extraction.commitments import find_last_commitment
from medcritical.text.extraction.judgements import judge_options
from medcritical.text.extraction.ordinals import name_ordinals
from medcritical.text.extraction.passage import Options, Passage, build_options, build_passage, fold
from medcritical.text.extraction.plain import read_edges, read_option_text, read_whole_letters, read_whole_text
from medcritical.text.extraction.repetition import cut_echo, cut_quotations
from medcritical.text.extraction.retractions import CORRECTION, UNDECIDED, is_final_word
from medcritical.text.extraction.thinking import drop_thinking
from medcritical.text.extraction.turns import clip, split_turns

NO_ANSWER = "none"


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer read from a response: sorted letters, or None, and the rule that fired ("none": no rule did)."""

    letters: str | None
    rule: str


def extract_answer(text: str, options: Mapping[str, str]) -> Extraction:
    """Returns the letters of `options` that `text` commits to, sorted ("ABD"), or None, and the name of the rule.

    `options` maps letter to text. A letter that is not among them is never returned, nor a near one in its place.
    Bounded time: a response of more than 16,000 characters is read at its head and tail only.
    """
    choices = build_options(options)
    folded = fold(clip(text))
    if not folded.strip():
        return Extraction(None, NO_ANSWER)
    visible = drop_thinking(build_passage(folded, choices))
    if visible.is_unfinished:
        return _read_unfinished(visible.passage)
    for turn in split_turns(visible.passage):
        own, is_echo = cut_echo(turn)
        found = _read(_prepare(own, choices))
        if found is not None:
            return Extraction(found[0] or None, found[1] if found[0] else NO_ANSWER)
        if not is_echo:  # this was the answer to our item; what follows belongs to another
            break
    return Extraction(None, NO_ANSWER)


def _prepare(passage: Passage, choices: Options) -> Passage:
    named = name_ordinals(passage)
    if named != passage.text:
        passage = Passage(named, named.lower(), choices)
    return cut_quotations(passage)


def _read_unfinished(passage: Passage) -> Extraction:
    """Thinking that nothing follows answers only if it closes with an explicit commitment."""
    passage = _prepare(passage, passage.options)
    last, _ = find_last_commitment(passage)
    if last is not None and last.letters and is_final_word(passage.lowered, last.end):
        return Extraction(last.letters, last.rule)
    return Extraction(None, NO_ANSWER)


def _read(passage: Passage) -> tuple[str, str] | None:
    """Returns (letters, rule), or None where nothing is committed; letters "": committed, but to none of our options."""
    whole = read_whole_text(passage)
    if whole is not None:
        return whole
    corrections = list(CORRECTION.finditer(passage.lowered))
    if corrections:
        revised = _read_rules(passage.slice(corrections[-1].end()))
        if revised is not None:
            return revised
    return _read_rules(passage)


def _read_rules(passage: Passage) -> tuple[str, str] | None:
    last, own = find_last_commitment(passage)
    if last is not None:
        return ("" if UNDECIDED.search(passage.lowered, last.end) else last.letters), last.rule
    if UNDECIDED.search(passage.lowered):
        return None
    judged = judge_options(own)
    if judged is not None:
        return judged, "judgement"
    return read_whole_text(own) or read_whole_letters(own) or read_edges(own) or read_option_text(own)
