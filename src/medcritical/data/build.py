"""A draft to a question: cleaned, and checked by the rules that hold for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from medcritical.data.drafts import Draft
from medcritical.data.duplicates import content_key
from medcritical.data.normalise import (
    clean_explanation,
    clean_option,
    clean_text,
    is_placeholder,
    read_letters,
    without_label,
)
from medcritical.data.report import RejectedRow, SkippedRow, quote
from medcritical.records import Question, Split


def build_question(draft: Draft, *, language: str, source: str, split: Split, changes: set[str]) -> Question:
    """The question of a draft; letters stay as upstream gave them, gaps included.

    Raises:
        SkippedRow: there is no answer.
        RejectedRow: stem, options and answer do not make one question.
    """
    stem = clean_text(draft.stem, changes)
    if not stem:
        raise RejectedRow("empty stem")
    options = {letter: clean_option(text, changes) for letter, text in draft.options.items()}
    if len(options) < 2:
        raise RejectedRow("fewer than two options", "".join(options) or "none")
    answer = _check_answer(draft, options, changes)
    _check_options(options, answer, changes)
    source = draft.source or source
    upstream_id = clean_text(draft.id, changes)
    own_id = upstream_id or content_key(stem, options.values(), [options[letter] for letter in answer])[:12]
    return Question(
        id=upstream_id if upstream_id and draft.has_final_id else f"{source}-{own_id}",
        stem=stem,
        options=options,
        answer=answer,
        language=draft.language or language,
        split=split,
        source=source,
        explanation=clean_explanation(draft.explanation, changes),
        meta=_clean_meta(draft.meta, changes),
    )


def _check_answer(draft: Draft, options: Mapping[str, str], changes: set[str]) -> str:
    """The right letters, all among the options, and in agreement with the answer's text where the row has one."""
    written = clean_text(draft.answer, changes)
    if is_placeholder(written):
        raise SkippedRow("no answer")
    letters = read_letters(written)
    absent = [letter for letter in letters if letter not in options]
    if absent:
        shown = letters if letters == written else f"{letters} (written {quote(written)})"
        raise RejectedRow("answer is not among the options", f"answer {shown}, options {''.join(options) or 'none'}")
    if letters != draft.answer:
        changes.add("answer written in another form")
    text = clean_option(draft.answer_text, changes)
    stated = {tuple(text.split()), tuple(without_label(text, letters).split())}
    if text and len(letters) == 1 and tuple(options[letters].split()) not in stated:
        raise RejectedRow("answer text differs from its option", f"{quote(text)}, {letters} {quote(options[letters])}")
    return letters


def _check_options(options: Mapping[str, str], answer: str, changes: set[str]) -> None:
    """Refuses empty and doubly right options. Texts are compared exactly: signs tell options apart."""
    empty = [letter for letter, text in options.items() if not text]
    if empty:
        raise RejectedRow("empty option", "".join(empty))
    repeated = {text for text, count in Counter(options.values()).items() if count > 1}
    right = {options[letter] for letter in answer}
    wrong = {text for letter, text in options.items() if letter not in answer}
    if right & wrong:
        raise RejectedRow("a wrong option has the text of the right one", quote(min(right & wrong)))
    if repeated:
        changes.add("two options with one text")


def _clean_meta(meta: Mapping[str, Any], changes: set[str]) -> dict[str, Any]:
    """Annotations with their texts cleaned; nested values of our own form stay as they are."""
    return {name: clean_text(value, changes) if isinstance(value, str) else value for name, value in meta.items()}
