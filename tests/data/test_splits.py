"""Seeded splits: sizes, independence of order, duplicates together, and too few questions."""

import random

import msgspec
import pytest

from medcritical.config.schema import SplitSizes
from medcritical.data.contamination import near_pairs
from medcritical.data.duplicates import question_key
from medcritical.data.splits import assign_splits, limit_splits
from medcritical.errors import ConfigError, DataError
from medcritical.records import Question


def make(number: int, copy: int = 0) -> Question:
    """Copies of a number differ in letters, answer and spacing only."""
    texts = ["yes", "no"] if copy == 0 else ["no", "yes"]
    return Question(
        id=f"{number}-{copy}",
        stem=f"Stem {number}" + " " * copy,
        options=dict(zip("AB", texts, strict=True)),
        answer="A",
        language="en",
        split="train",
        source="s",
    )


def sizes(train: int | None, dev: int | None, test: int | None) -> SplitSizes:
    return SplitSizes(train=train, dev=dev, test=test)


def count(questions: list[Question]) -> dict[str, int]:
    splits = [question.split for question in questions]
    return {split: splits.count(split) for split in ("train", "dev", "test")}


@pytest.mark.parametrize(("train", "left"), [(None, 65), (40, 40)])
def test_sizes_are_met(train: int | None, left: int) -> None:
    chosen = assign_splits([make(number) for number in range(100)], sizes(train, 15, 20), seed=7)
    assert count(chosen) == {"train": left, "dev": 15, "test": 20}
    assert len({question.id for question in chosen}) == len(chosen)


def test_order_of_the_files_does_not_matter_but_the_seed_does() -> None:
    questions = [make(number) for number in range(60)]
    shuffled = random.Random(1).sample(questions, len(questions))
    first = assign_splits(questions, sizes(None, 10, 10), seed=3)
    assert assign_splits(shuffled, sizes(None, 10, 10), seed=3) == first
    assert assign_splits(questions, sizes(None, 10, 10), seed=4) != first


@pytest.mark.parametrize("seed", range(5))
def test_copies_stay_in_one_split(seed: int) -> None:
    questions = [make(number, copy) for number in range(30) for copy in (0, 1)]
    places: dict[str, set[str]] = {}
    for question in assign_splits(questions, sizes(None, 10, 20), seed=seed):
        places.setdefault(question_key(question), set()).add(question.split)
    assert len(places) == 30
    assert all(len(splits) == 1 for splits in places.values())


def test_copies_that_cannot_fill_a_split_are_an_error() -> None:
    with pytest.raises(DataError, match=r"data\.sizes\.test=4"):
        assign_splits([make(number, copy) for number in range(5) for copy in (0, 1)], sizes(None, 0, 5), seed=0)


def test_too_few_questions_are_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match="There are 10 questions"):
        assign_splits([make(number) for number in range(10)], sizes(None, 5, 5), seed=0)


def test_seeded_split_needs_numbers() -> None:
    with pytest.raises(ConfigError, match="as numbers"):
        assign_splits([make(number) for number in range(10)], sizes(None, None, 5), seed=0)


def test_one_id_for_two_questions_is_an_error() -> None:
    with pytest.raises(DataError, match="Two questions have the id '1-0'"):
        assign_splits([make(1), make(1)], sizes(None, 0, 1), seed=0)


def test_official_splits_are_cut_to_size() -> None:
    questions = [make(number) for number in range(20)]
    official = [msgspec.structs.replace(question, split="test") for question in questions[:8]] + questions[8:]
    chosen = limit_splits(official, sizes(None, None, 5), seed=0)
    assert count(chosen) == {"train": 12, "dev": 0, "test": 5}
    assert limit_splits(list(reversed(official)), sizes(None, None, 5), seed=0) == chosen
    with pytest.raises(DataError, match=r"The test split has 8 questions, but data\.sizes\.test=9"):
        limit_splits(official, sizes(None, None, 9), seed=0)


def test_chains_of_near_copies_stay_in_one_split() -> None:
    """A is near B and B near C, but A is not near C: all three go together, and nothing else does."""
    words = [f"{number:04x}" * 2 for number in range(7, 70_000, 4_999)]
    stems = [" ".join(words[start : start + 9]) for start in (0, 2, 4)]
    chain = [msgspec.structs.replace(make(900 + number), stem=stem) for number, stem in enumerate(stems)]
    pairs = {(one, other) for one, other in near_pairs(chain, threshold=0.5)}
    assert pairs == {(0, 1), (1, 2)}
    others = [
        msgspec.structs.replace(make(number), stem=random.Random(number).randbytes(20).hex()) for number in range(40)
    ]
    apart = 0
    for seed in range(20):
        near = assign_splits([*chain, *others], sizes(None, 8, 8), seed=seed, near=0.5)
        assert len({question.split for question in near if question.id.startswith("90")}) == 1
        exact = assign_splits([*chain, *others], sizes(None, 8, 8), seed=seed)
        apart += len({question.split for question in exact if question.id.startswith("90")}) > 1
    assert apart > 5


def test_what_cannot_be_filled_says_what_to_change() -> None:
    twins = [msgspec.structs.replace(make(number), stem="One long stem about one case") for number in range(4)]
    one_group = [msgspec.structs.replace(twin, options={"A": f"y{n}", "B": "n"}) for n, twin in enumerate(twins)]
    with pytest.raises(DataError, match=r"two splits: where .* set data\.contamination=null .*=0\.5"):
        assign_splits(one_group, sizes(None, 0, 1), seed=0, near=0.5)


def test_the_remedy_for_questions_of_one_pattern_is_named_and_works() -> None:
    """As a file made by a program has them: one stem with a number in it, and the same options."""
    stem = "Which of the following numbers is {} when it is written in digits?"
    made = [msgspec.structs.replace(make(number), stem=stem.format(number)) for number in range(300)]
    with pytest.raises(DataError, match=r"made from one pattern and are no copies, set data\.contamination=null"):
        assign_splits(made, sizes(None, 50, 200), seed=0, near=0.6)
    assert count(assign_splits(made, sizes(None, 50, 200), seed=0)) == {"test": 200, "dev": 50, "train": 50}
