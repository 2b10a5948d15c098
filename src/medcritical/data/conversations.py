"""ShareGPT conversations: a question turn and an answer turn.

The form carries free-text gold after the marker 答案是：, which is open question answering. Only conversations that
show options, as a field or as labelled lines under the question, are multiple choice; the others are skipped.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from medcritical.data.drafts import Draft, text_field
from medcritical.data.normalise import add_option, read_options, split_label
from medcritical.data.report import RejectedRow, SkippedRow, quote
from medcritical.data.rows import Row

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
    """Stem and options of a turn whose last lines are labelled A, B, ...; no options where they are not."""
    lines = question.strip().splitlines()
    labelled = [split_label(line) for line in lines]
    start = len(lines)
    while start > 0 and labelled[start - 1] is not None:
        start -= 1
    options: dict[str, str] = {}
    for entry in labelled[start:]:
        if entry is not None:
            add_option(options, *entry)
    return ("\n".join(lines[:start]), options) if len(options) >= 2 else (question, {})


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
