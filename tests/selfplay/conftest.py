"""Attempts and corrections made by hand."""

from collections.abc import Callable

import pytest

from medcritical.records import Attempt, Correction, Question

MakeAttempt = Callable[..., Attempt]
MakeCorrection = Callable[..., Correction]


def make_question(id: str = "q1") -> Question:
    return Question(
        id=id, stem="s", options={"A": "x", "B": "y"}, answer="A", language="en", split="train", source="test"
    )


@pytest.fixture
def attempt() -> MakeAttempt:
    """An attempt by its text: right if it says so, in strict form unless told otherwise."""

    def make(
        text: str = "right", *, id: str = "q1", well: bool = True, sound: bool | None = None, tokens: int = 10
    ) -> Attempt:
        is_correct = text.startswith("right")
        return Attempt(
            question=make_question(id),
            text=text,
            letters="A" if is_correct else "B",
            rule="test",
            is_correct=is_correct,
            is_well_formed=well,
            is_sound=sound,
            prompt_tokens=5,
            completion_tokens=tokens,
            round=0,
        )

    return make


@pytest.fixture
def correction(attempt: MakeAttempt) -> MakeCorrection:
    """A correction of `wrong` that now says `text`."""

    def make(wrong: Attempt, text: str = "right again", **more: object) -> Correction:
        return Correction(wrong=wrong, insight="i", corrected=attempt(text, id=wrong.question.id, **more))

    return make
