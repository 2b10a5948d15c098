"""Which question is in which split: seeded, independent of file order, and never one question in two splits."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from medcritical.config.schema import SplitSizes
from medcritical.data.contamination import near_pairs
from medcritical.data.duplicates import question_key
from medcritical.errors import ConfigError, DataError
from medcritical.records import Question, Split


def assign_splits(
    questions: Iterable[Question], sizes: SplitSizes, seed: int, near: float | None = None
) -> list[Question]:
    """The questions re-split: test is filled first, then dev, then train up to its size; the rest is left out.

    Questions that agree in stem and options go together, and with `near` all that are linked by similarities of at
    least that (contamination.py). The result depends on the questions and the seed, not on their order; it lists test,
    dev, train.

    Raises:
        ConfigError: the size of test or dev is null, so that nothing would be left to train on.
        DataError: there are too few questions, or one id stands for two.
    """
    groups = _shuffle_groups(questions, seed, near)
    total = sum(map(len, groups))
    if sizes.test is None or sizes.dev is None:
        raise ConfigError("data.split=seeded needs data.sizes.test and data.sizes.dev as numbers.")
    needed = sizes.test + sizes.dev + (sizes.train or 1)
    if total < needed:
        raise DataError(
            f"There are {total} questions, but test={sizes.test}, dev={sizes.dev}, train={sizes.train or 'at least 1'} "
            f"need {needed}: make data.sizes smaller or give more files."
        )
    chosen: list[Question] = []
    for split, size in _split_sizes(sizes):
        taken, groups = _take(groups, size)
        if size is not None and len(taken) != size:
            raise DataError(
                f"The {split} split of {size} questions cannot be filled without putting copies of one question into "
                f"two splits: {_ways_out(split, len(taken), near)}."
            )
        chosen += [msgspec.structs.replace(question, split=split) for question in taken]
    return chosen


def _ways_out(split: str, can_be_filled: int, near: float | None) -> str:
    """What to change, for the end of a sentence."""
    ways = [f"set data.sizes.{split}={can_be_filled}"] if can_be_filled else []
    if near is not None:
        ways.append(
            "where questions are made from one pattern and are no copies, set data.contamination=null (near copies are those "
            f"alike from data.contamination={near:g} on; with null, only those with the same stem and options)"
        )
    return ", or, ".join(ways) or "give more questions"


def limit_splits(questions: Iterable[Question], sizes: SplitSizes, seed: int) -> list[Question]:
    """At most the wanted number of questions of each official split, drawn by the seed; null keeps all.

    Raises:
        DataError: a split has fewer questions than asked for, or one id stands for two.
    """
    groups = _shuffle_groups(questions, seed)
    chosen: list[Question] = []
    for split, size in _split_sizes(sizes):
        there = [question for group in groups for question in group if question.split == split]
        if size is not None and len(there) < size:
            raise DataError(f"The {split} split has {len(there)} questions, but data.sizes.{split}={size}.")
        chosen += there[:size]
    return chosen


def _split_sizes(sizes: SplitSizes) -> tuple[tuple[Split, int | None], ...]:
    return ("test", sizes.test), ("dev", sizes.dev), ("train", sizes.train)


def _shuffle_groups(questions: Iterable[Question], seed: int, near: float | None = None) -> list[list[Question]]:
    """The questions grouped by content, in an order that only content and seed decide."""
    groups: dict[str, list[Question]] = defaultdict(list)
    ids: set[str] = set()
    for question in questions:
        if question.id in ids:
            raise DataError(f"Two questions have the id {question.id!r}: drop duplicates, or name the sources apart.")
        ids.add(question.id)
        groups[question_key(question)].append(question)
    ordered = [sorted(groups[key], key=lambda question: question.id) for key in sorted(groups)]
    if near is not None:
        ordered = _join_near(ordered, near)
    random.Random(seed).shuffle(ordered)
    return ordered


def _join_near(groups: Sequence[list[Question]], near: float) -> list[list[Question]]:
    """Groups that a chain of similarities links, made one."""
    owner = list(range(len(groups)))

    def first(number: int) -> int:
        while owner[number] != number:
            number = owner[number]
        return number

    for one, other in near_pairs([group[0] for group in groups], threshold=near):
        low, high = sorted((first(one), first(other)))
        owner[high] = low
    joined: dict[int, list[Question]] = defaultdict(list)
    for number, group in enumerate(groups):
        joined[first(number)] += group
    return list(joined.values())


def _take(groups: list[list[Question]], size: int | None) -> tuple[list[Question], list[list[Question]]]:
    """Whole groups, in order, as long as they fit into `size` (null: all), and the groups left over."""
    taken: list[Question] = []
    left: list[list[Question]] = []
    for group in groups:
        if size is None or len(taken) + len(group) <= size:
            taken += group
        else:
            left.append(group)
    return taken, left
