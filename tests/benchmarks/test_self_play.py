"""Which questions of a self-play stand for all in the comparison with TRL."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

LoadScript = Callable[[str], ModuleType]


@pytest.fixture
def self_play(load_script: LoadScript) -> ModuleType:
    load_script("workload")
    return load_script("self_play")


def question(load_script: LoadScript, size: int, *rejected: int) -> list[Any]:
    """A group for each number: a chosen response with so many rejected ones, all of `size` tokens."""
    group = load_script("workload").Group
    prompt = list(range(size))
    chosen = [[100 + number] * size for number in range(len(rejected))]
    return [
        group(prompt, good, [[200 + bad] * size for bad in range(many)])
        for good, many in zip(chosen, rejected, strict=True)
    ]


def test_the_typical_questions_have_a_median_number_of_pairs_and_the_nearest_lengths(
    self_play: ModuleType, load_script: LoadScript
) -> None:
    alike = [question(load_script, size, 3) for size in (1, 3, 30, 40, 19, 21)]  # on average 19
    others = [question(load_script, 19, 1), question(load_script, 19, 2), question(load_script, 19, 3, 3)]
    questions = [*others, *alike]
    assert [self_play.num_pairs(item) for item in questions] == [1, 2, 6, 3, 3, 3, 3, 3, 3]
    assert self_play.typical(questions, 1) == alike[4]
    assert self_play.typical(questions, 2) == [*alike[4], *alike[5]]
    assert self_play.typical(questions, 100) == [group for question in alike for group in question]


def test_a_question_with_several_corrections_is_shared_as_one(load_script: LoadScript) -> None:
    groups = question(load_script, 10, 3, 3)
    *_, shared = load_script("workload")._lengths(groups)
    # Six pairs of 40 tokens; once each: a prompt, two chosen and three rejected responses.
    assert shared == pytest.approx((10 + 2 * 10 + 3 * 10) / (6 * 40))
