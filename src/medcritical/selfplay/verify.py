"""The verifiers: what a completion answers, whether that is right, and whether the reasoning is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from medcritical.records import Attempt, Completion, Judgement, Question
from medcritical.selfplay.judge import Judge
from medcritical.text.answers import extract_answer
from medcritical.text.thoughts import ThoughtFormat
from medcritical.world import is_clinic, is_sound


class Verifier(Protocol):
    """Whoever decides that attempts are right."""

    def verify(self, answered: Sequence[tuple[Question, Completion]], *, round: int) -> list[Attempt]:
        """The completions as attempts, in order."""
        ...


class ExactVerifier:
    """The letters read from an answer must equal the key's."""

    def __init__(self, form: ThoughtFormat) -> None:
        self.form = form

    def verify(self, answered: Sequence[tuple[Question, Completion]], *, round: int) -> list[Attempt]:
        """See `Verifier`."""
        return [read_attempt(self.form, question, completion, round=round) for question, completion in answered]


class JudgeVerifier:
    """A judge decides; what the rule reads is kept beside it. A blank reply is unparsed without asking.

    An attempt that the judge fails on is undecided: neither right nor wrong, so no side of a pair.
    """

    def __init__(self, form: ThoughtFormat, judge: Judge) -> None:
        self.form, self.judge = form, judge

    def verify(self, answered: Sequence[tuple[Question, Completion]], *, round: int) -> list[Attempt]:
        """See `Verifier`. Raises GenerationError when the judge cannot be asked at all."""
        attempts = ExactVerifier(self.form).verify(answered, round=round)
        said = [attempt for attempt in attempts if attempt.text.strip()]
        decisions = iter(self.judge.decide([(attempt.question, attempt.text) for attempt in said]) if said else [])
        return [judged(attempt, next(decisions)) if attempt.text.strip() else attempt for attempt in attempts]


def read_attempt(form: ThoughtFormat, question: Question, completion: Completion, *, round: int) -> Attempt:
    """The completion as an `Attempt`: extracted letters against the gold ones, format, and soundness where known."""
    extraction = extract_answer(completion.text, question.options)
    thought = form.parse(completion.text) if completion.is_finished else None
    is_correct = extraction.letters == question.answer
    sound = None
    if is_clinic(question):
        sound = is_correct and thought is not None and is_sound(question, thought.chain)
    return Attempt(
        question=question,
        text=completion.text,
        letters=extraction.letters,
        rule=extraction.rule,
        is_correct=is_correct,
        is_well_formed=thought is not None,
        is_sound=sound,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        round=round,
    )


def judged(attempt: Attempt, judgement: Judgement) -> Attempt:
    """The attempt as the judge sees it: right only if the judge says so, and sound only if it is right."""
    is_right = judgement == "right"
    return msgspec.structs.replace(
        attempt,
        judgement=judgement,
        is_correct=is_right,
        is_sound=attempt.is_sound and is_right,
    )
