"""Official test sets that are published as a list of ids beside the questions, as PubMedQA's is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from medcritical.config.schema import SplitSizes
from medcritical.data.duplicates import question_key
from medcritical.data.report import quote
from medcritical.data.rows import read_text
from medcritical.data.splits import assign_splits, limit_splits
from medcritical.errors import DataError
from medcritical.records import Question


@dataclass(frozen=True)
class IdSplit:
    """Questions with the split that the official ids give them, and the ids that no question has, in the list's order."""

    questions: list[Question]
    missing: tuple[str, ...]


def read_test_ids(paths: Iterable[str]) -> dict[str, str]:
    """Upstream id -> the label that the list gives it ("" where it gives none), from JSON objects or arrays of ids.

    Raises:
        DataError: a file cannot be read, or is neither.
    """
    found: dict[str, str] = {}
    for path in paths:
        if not Path(path).is_file():
            raise DataError(f"{path} (data.files.test) does not exist: it is the list of official test ids.")
        try:
            listed = json.loads(read_text(Path(path), "utf-8"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not valid JSON: {error}.") from error
        pairs = listed.items() if isinstance(listed, dict) else _unlabelled(listed)
        if not pairs or not all(isinstance(label, str) for _, label in pairs):
            raise DataError(
                f"{path} is no list of test ids: data.split=test_ids needs a JSON object of id to label, or an array of ids."
            )
        found |= {str(name): label for name, label in pairs}
    return found


def _unlabelled(listed: Any) -> list[tuple[Any, str]]:
    """Ids of an array; nothing where it is no array of ids."""
    is_array = isinstance(listed, list) and all(isinstance(name, (str, int)) for name in listed)
    return [(name, "") for name in listed] if is_array else []


def assign_test_ids(
    questions: Sequence[Question], test_ids: Mapping[str, str], sizes: SplitSizes, seed: int
) -> IdSplit:
    """Test is what the ids name, dev is drawn from the rest by the seed, train is what remains; sizes limit each.

    A copy of a test question under another id is left out.

    Raises:
        DataError: no id is that of a question, a label contradicts its question, or there are too few questions.
    """
    named = {upstream_id(question): question for question in questions}
    test = [msgspec.structs.replace(named[name], split="test") for name in test_ids if name in named]
    if not test:
        raise DataError(
            f"None of the {len(test_ids)} test ids, such as {next(iter(test_ids))!r}, is the id of one of the "
            f"{len(questions)} questions, such as {upstream_id(questions[0])!r}: data.files.train and data.files.test do "
            "not belong together."
        )
    for question in test:
        _check_label(question, test_ids[upstream_id(question)])
    taken = {question_key(question) for question in test}
    rest = [question for question in questions if question_key(question) not in taken]
    limited = limit_splits(test, SplitSizes(train=None, dev=None, test=sizes.test), seed)
    others = assign_splits(rest, SplitSizes(train=sizes.train, dev=sizes.dev, test=0), seed)
    return IdSplit([*limited, *others], tuple(name for name in test_ids if name not in named))


def upstream_id(question: Question) -> str:
    """The id that upstream gave, without the source that the loader put before it."""
    return question.id.removeprefix(f"{question.source}-")


def _check_label(question: Question, label: str) -> None:
    right = (question.answer.casefold(), " ".join(question.answer_texts).casefold())
    if label and label.strip().casefold() not in right:
        raise DataError(
            f"The list of test ids says {quote(label)} for {upstream_id(question)}, whose question has "
            f"{quote(' '.join(question.answer_texts))}: the two files are of different versions."
        )
