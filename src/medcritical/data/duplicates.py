"""When two questions are the same, and what is kept of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from medcritical.data.report import Fault
from medcritical.records import Question, Split


def question_key(question: Question) -> str:
    """Equal for questions whose stem and set of option texts agree but for spacing; letters and answer do not count.

    Case and signs count: < and >, + and - tell options apart.
    """
    return content_key(question.stem, question.options.values())


def answer_key(question: Question) -> str:
    """Equal for questions whose right options have the same texts but for spacing."""
    return content_key("", question.answer_texts)


def content_key(stem: str, *groups: Iterable[str]) -> str:
    """24 hexadecimal digits that depend on the stem and on the texts in each group, not on their order or spacing."""
    parts = [_unspace(stem), *("\0".join(sorted(map(_unspace, group))) for group in groups)]
    return blake2b("\1".join(parts).encode(), digest_size=12).hexdigest()


def _unspace(text: str) -> str:
    return "".join(text.split())


def drop_duplicates(questions: Iterable[Question]) -> tuple[list[Question], list[Question]]:
    """The questions with the first of each set of duplicates (same question, same answer), and the dropped ones.

    For a pool of several files; inside one file `load_questions` has done it.
    """
    kept: dict[tuple[str, str], Question] = {}
    dropped: list[Question] = []
    for question in questions:
        if kept.setdefault((question_key(question), answer_key(question)), question) is not question:
            dropped.append(question)
    return list(kept.values()), dropped


def name_splits_apart(questions: Iterable[Question]) -> list[Question]:
    """The questions, and after the id of a dev or test question that another split has, too, its own split.

    Upstream may number every file from 0, and ids that are hashes of the content agree in copies, which are to be
    reported, not lost. A train question keeps its id, by which it is found among recorded traces. An id that one split has
    twice is left as it is, for it names no question.
    """
    pool = list(questions)
    owners: dict[str, list[Split]] = defaultdict(list)
    for question in pool:
        owners[question.id].append(question.split)
    shared = {id for id, splits in owners.items() if 1 < len(splits) == len(set(splits))}
    return [
        msgspec.structs.replace(question, id=f"{question.id}@{question.split}")
        if question.id in shared and question.split != "train"
        else question
        for question in pool
    ]


def resolve_duplicates(
    numbered: Sequence[tuple[int, Question]],
) -> tuple[list[Question], list[Fault], list[Fault]]:
    """What one file keeps of (record number, question): the questions, the skipped and the rejected copies.

    A copy with the same answer is skipped. Copies with different answers are all rejected, since nobody knows which is
    right. Another question under a taken id is rejected.
    """
    copies: dict[str, dict[int, str]] = defaultdict(dict)
    keys = [question_key(question) for _, question in numbered]
    for key, (record, question) in zip(keys, numbered, strict=True):
        copies[key][record] = answer_key(question)
    kept: list[Question] = []
    skipped: list[Fault] = []
    rejected: list[Fault] = []
    owners: dict[str, tuple[int, str]] = {}
    for key, (record, question) in zip(keys, numbered, strict=True):
        first = min(copies[key])
        owner, owner_key = owners.setdefault(question.id, (record, key))
        if len(set(copies[key].values())) > 1:
            others = ", ".join(str(other) for other in copies[key] if other != record)
            rejected.append(
                Fault(record, "same question with another answer", f"{question.id} is also record {others}")
            )
        elif owner_key != key:
            detail = f"{question.id} is record {owner} and, with another question, record {record}"
            rejected.append(Fault(record, "duplicate id", detail))
        elif record != first:
            skipped.append(Fault(record, "duplicate question", f"same as record {first}"))
        else:
            kept.append(question)
    return kept, skipped, rejected
