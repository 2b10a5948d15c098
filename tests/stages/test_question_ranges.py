"""Which train questions an iteration plays: fresh ones first, then from the beginning of self-play's part again."""

import pytest

from medcritical.config.stages import QuestionRange
from medcritical.errors import DataError
from medcritical.records import Question, Split
from medcritical.stages.play import select_questions


def question(number: int, split: Split = "train") -> Question:
    return Question(
        id=str(number),
        stem=f"question {number}",
        options={"A": "yes", "B": "no"},
        answer="A",
        language="en",
        split=split,
        source="test",
    )


QUESTIONS = [question(number) for number in range(10)] + [question(10, "test"), question(11, "dev")]


def ids(start: int, count: int | None, first: int) -> list[int]:
    return [int(item.id) for item in select_questions(QUESTIONS, QuestionRange(start, count, first))]


def test_iterations_get_fresh_questions_after_those_of_stage_one() -> None:
    assert ids(4, 3, 4) == [4, 5, 6]
    assert ids(7, 3, 4) == [7, 8, 9]


def test_past_the_end_it_goes_on_at_the_first() -> None:
    assert ids(8, 4, 4) == [8, 9, 4, 5]
    assert ids(10, 3, 4) == [4, 5, 6]


def test_no_question_twice_in_one_iteration_and_never_a_held_out_one() -> None:
    assert ids(4, 99, 4) == [4, 5, 6, 7, 8, 9]
    assert ids(0, None, 0) == list(range(10))


def test_nothing_left_is_an_error_with_a_remedy() -> None:
    with pytest.raises(DataError, match=r"after the first 10, and there are 10: raise data\.sizes\.train"):
        select_questions(QUESTIONS, QuestionRange(10, 3, 10))
