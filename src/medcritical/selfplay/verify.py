"""The one verifier: what a completion answers, whether that is right, and whether the reasoning is."""

from __future__ import annotations

from medcritical.records import Attempt, Completion, Question
from medcritical.text.answers import extract_answer
from medcritical.text.thoughts import ThoughtFormat
from medcritical.world import is_clinic, is_sound


def judge(form: ThoughtFormat, question: Question, completion: Completion, *, round: int) -> Attempt:
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
