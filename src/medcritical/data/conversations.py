"""ShareGPT conversations: a question turn and an answer turn.

The form carries free-text gold after the marker 答案是：, which is open question answering. Only conversations that
show options, as a field or as labelled lines under the question, are multiple choice; the others are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from medcritical.data.drafts import Draft, text_field
from medcritical.data.normalise import add_option, has_bare_label, read_options, split_label
from medcritical.data.report import RejectedRow, SkippedRow, quote
from medcritical.data.rows import Row
from medcritical.records import LETTERS

ANSWER_MARK = "答案是"
BACKGROUND_MARK = "这是一些相关的背景信息"
_ASKING = ("human", "user")
_ANSWERING = ("gpt", "assistant")


def parse_conversation(row: Row, changes: set[str]) -> Draft:
    """The first question turn and the turn that answers it; background text after the answer is left out."""
    question, reply = _first_exchange(row.value.get("conversations"))
    if row.value.get("options") is not None:
        stem, options = question, read_options(row.value["options"], changes)
    else:
        stem, options = split_stem(question)
    if not options:
        raise SkippedRow("no options", "free-text gold is not multiple choice")
    return Draft(stem=stem, options=options, answer=_read_gold(reply, options), id=text_field(row.value, "id"))


def _first_exchange(turns: Any) -> tuple[str, str]:
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise RejectedRow("conversations is not a list of turns", quote(turns))
    spoken = [(text_field(turn, "from"), text_field(turn, "value", required=True)) for turn in turns]
    for (asker, question), (answerer, reply) in pairwise(spoken):
        if asker in _ASKING and answerer in _ANSWERING:
            return question, reply
    raise RejectedRow("no question turn with an answer turn after it")


def split_stem(question: str) -> tuple[str, dict[str, str]]:
    """Stem and options of a turn whose last lines are labelled A, B, ...; no options where they are not.

    Raises:
        RejectedRow: two options have one letter.
    """
    lines = question.strip().splitlines()
    labelled: list[tuple[str, str]] = []  # of the last lines
    for entry in map(split_label, reversed(lines)):
        if entry is None:
            break
        labelled.insert(0, entry)
    run = lines[len(lines) - len(labelled) :]
    num_stem = _count_stem_lines(run, [letter for letter, _ in labelled])
    options: dict[str, str] = {}
    for letter, text in labelled[num_stem:]:
        add_option(options, letter, text)
    stem = lines[: len(lines) - len(options)]
    return ("\n".join(stem), options) if len(options) >= 2 else (question, {})


def _count_stem_lines(lines: Sequence[str], letters: Sequence[str]) -> int:
    """How many of these labelled lines only look like options and belong to the stem, as "A 67-year-old woman ...".

    They stand above the last A and have bare labels. Under them the options have marked labels ("A."), or run from A on
    without a gap, which the letters above do not complete: "C x", "A y", "B z" are three options. Anything else is left
    to the check that no letter comes twice.
    """
    if "A" not in letters:
        return 0
    first = len(letters) - 1 - list(reversed(letters)).index("A")
    is_marked = not has_bare_label(lines[first])
    has_gap = "".join(letters[first:]) != LETTERS[: len(letters) - first]
    is_one_set = "".join(sorted(letters)) == LETTERS[: len(letters)]
    is_clear = is_marked or not (has_gap or is_one_set)
    return first if is_clear and all(map(has_bare_label, lines[:first])) else 0


def _read_gold(reply: str, options: dict[str, str]) -> str:
    """The letters after the marker: given as letters, as "B. text", or as the exact text of one option.

    Background text is cut off first, since it may hold the marker, too, with a wrong answer.
    """
    gold = reply.partition(BACKGROUND_MARK)[0].rpartition(ANSWER_MARK)[2]
    gold = gold.strip().lstrip(":：").strip().rstrip("。.").strip()
    found = [letter for letter, text in options.items() if text.strip().rstrip("。.") == gold]
    labelled = split_label(gold)
    if len(found) == 1:
        return found[0]
    if labelled is not None and options.get(labelled[0], "").strip().rstrip("。.") == labelled[1].strip():
        return labelled[0]
    return gold
