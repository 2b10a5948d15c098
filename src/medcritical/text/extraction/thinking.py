"""Drop thinking: between tags, before a lone closing tag, or under a heading of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medcritical.text.extraction.passage import Passage
from medcritical.text.extraction.turns import find_next_turn

_TAG = re.compile(
    r"[<\[]\|?\s?(/|begin_of_|end_of_)?\s?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|analysis|思考)\s?\|?[>\]]"
)
# "## Title", "**Title**" on a line of their own, or "【Title】" with text behind it.
_HEADING = re.compile(
    r"\n[ \t]{0,3}(?:#{1,6}[ \t]{0,3}([^\n#]{2,40}?):?[ \t]{0,3}(?=\n|\Z)"
    r"|\*\*([^\n*]{2,40}?):?\*\*:?[ \t]{0,3}(?=\n|\Z)|\[([^\n\]]{2,20})\])"
)
_THINKING_TITLE = re.compile(r"think|thought|reasoning|思考|推理|思路|分析过程")
_ANSWER_TITLE = re.compile(
    r"final|answer|response|conclusion|solution|output|最终|最后|回答|答案|回复|结论|解答|答复|输出"
)


@dataclass(frozen=True, slots=True)
class Visible:
    """What a response says besides its thinking; with `is_unfinished` the thinking itself, after which nothing came."""

    passage: Passage
    is_unfinished: bool = False


def drop_thinking(passage: Passage) -> Visible:
    """Returns what follows the thinking; where nothing does, the thinking itself, marked as unfinished."""
    visible = _drop_tagged(passage) if "<" in passage.lowered or "[" in passage.lowered else Visible(passage)
    if visible.is_unfinished or (
        "#" not in passage.lowered and "**" not in passage.lowered and "[" not in passage.lowered
    ):
        return visible
    return _drop_section(visible.passage)


def _drop_tagged(passage: Passage) -> Visible:
    tags = list(_TAG.finditer(passage.lowered))
    openers = [tag for tag in tags if tag[1] in (None, "begin_of_")]
    closers = [tag for tag in tags if tag[1] not in (None, "begin_of_")]
    if not tags:
        return Visible(passage)
    if not closers:
        before = passage.slice(0, openers[0].start())
        return (
            Visible(before) if before.lowered.strip() else Visible(passage.slice(openers[0].end()), is_unfinished=True)
        )
    # Thinking that comes after the next turn began belongs to that turn.
    next_turn = find_next_turn(passage, closers[0].end())
    last = [tag for tag in closers if tag.start() <= next_turn or tag is closers[0]][-1]
    reopened = next((tag.start() for tag in openers if tag.start() > last.end()), None)
    visible = passage.slice(last.end(), reopened)
    if visible.lowered.strip():
        return Visible(visible)
    start = openers[0].end() if openers and openers[0].end() <= last.start() else 0
    return Visible(passage.slice(start, last.start()), is_unfinished=True)  # nothing was said after it


def _drop_section(passage: Passage) -> Visible:
    headings = [(found, found[1] or found[2] or found[3]) for found in _HEADING.finditer("\n" + passage.lowered)]
    thinking = next((i for i, (_, title) in enumerate(headings) if _THINKING_TITLE.search(title)), None)
    if thinking is None:
        return Visible(passage)
    for found, title in headings[thinking + 1 :]:
        if _ANSWER_TITLE.search(title):
            return Visible(passage.slice(found.end() - 1))
    return Visible(passage.slice(headings[thinking][0].end() - 1), is_unfinished=True)
