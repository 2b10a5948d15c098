"""Bound a response: clip what is too long, cut where another question or chat turn begins."""

from __future__ import annotations

import re

from medcritical.text.extraction.passage import Passage

# An answer stands near the beginning (before the model runs on) or at the end; the middle of a long text is not read.
HEAD_CHARACTERS = 4_000
TAIL_CHARACTERS = 12_000

_NUMBER_ZH = "[一二三四五六七八九十百\\d]"
_QUESTION = [
    r"(?:(?:[Nn]ext|[Nn]ew|[Aa]nother|[Ff]ollowing) )?(?:[Qq]uestion|QUESTION|[Pp]roblem|[Ee]xercise|Q)"
    r" ?#?\d{0,3}(?:\*\*|\]|\))? ?[:.)\]\n]",
    r"(?:[Qq]uestion|[Cc]ase|[Ee]xample|[Ii]tem) #?\d{1,3}(?!\d)",
    r"(?:Next|New) (?:question|item|case)\b",
    rf"(?:下一[题道个]|另一题|新题|问题|题目|试题|例题|提问|问) ?{_NUMBER_ZH}{{0,3}}(?:\] ?[:.、\n]?| ?[:.、\n])",
    rf"第 ?{_NUMBER_ZH}{{1,4}} ?题",
    r"\d{1,3}[.、)] ?[^\n]{4,300}(?:[?是为]|\( ?\))[ \t]{0,3}\n[ \t]{0,3}[(\[]?A[.、)]",  # a numbered stem with its options
]
_TURN = [
    r"(?:[Uu]ser|[Hh]uman|[Aa]ssistant|USER|HUMAN|ASSISTANT|用户|助手|人类) ?:",
    r"#{2,3} ?(?:[Ii]nstruction|[Uu]ser|[Ii]nput|[Aa]ssistant)\b ?:?",
    r"#{2,3} ?(?=\n)",
]
_TOKEN = [
    r"<\|(?:im_start|im_end|eot_id|eom_id|endoftext|end_of_text|user|assistant|system|end|(?:start|end)_header_id)\|>"
    r"(?:(?:assistant|user|system)\b)?",
    r"<\|(?:User|Assistant|end▁of▁sentence)\|>",
    r"</?s>",
    r"<eos>",
    r"<(?:start|end)_of_turn>(?:model|user)?",
    r"\[/?INST\]",
]
# A turn marker is no text; the heading of a question is, for it may be our own prompt said again.
_BOUNDARY = re.compile(
    rf"\n[ \t]{{0,3}}(?:\d{{1,2}}[.、] ?\[?|#{{1,6}}[ \t]?|\*\*|-{{3,20}}\s|={{3,20}}\s|\[|\()?(?:{'|'.join(_QUESTION)})"
    rf"|\n[ \t]{{0,3}}(?:\*\*)?(?P<turn>{'|'.join(_TURN)})"
    rf"|[.)\]*] (?:Question|Q) ?\d{{0,3}}:|下一题|下一道题"
    rf"|(?P<token>{'|'.join(_TOKEN)})"
)


def clip(text: str) -> str:
    """Returns the text, or head and tail of a long one, so that time is bounded whatever a model emits."""
    if len(text) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return text
    return text[:HEAD_CHARACTERS] + "\n\n" + text[-TAIL_CHARACTERS:]


def find_next_turn(passage: Passage, start: int) -> int:
    """Returns where another question or turn begins after `start`, or the end of the passage."""
    said = start + len(passage.text[start:]) - len(passage.text[start:].lstrip())
    found = next((f for f in _BOUNDARY.finditer(passage.text, start) if f.start() > said), None)
    return found.start() if found else len(passage.text)


def split_turns(passage: Passage) -> list[Passage]:
    """Returns the parts between turn markers and questions, blank parts left out."""
    if "\n" not in passage.text and "<" not in passage.text and "题" not in passage.text and "Q" not in passage.text:
        return [passage]
    parts, start = [], 0
    for found in _BOUNDARY.finditer("\n" + passage.text):
        parts.append(passage.slice(start, max(found.start() - 1, start)))
        is_marker = found["turn"] or found["token"]
        start = (found.end() if is_marker else found.start() + 1) - 1
        start = max(start, 0)
    parts.append(passage.slice(start))
    return [part for part in parts if part.lowered.strip()]
