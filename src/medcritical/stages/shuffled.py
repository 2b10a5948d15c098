"""`data.shuffle_options`: questions and recorded traces with their options in an order drawn by a seed."""

from __future__ import annotations

import dataclasses

from medcritical.data.traces import Trace
from medcritical.records import Question
from medcritical.text.lettering import rewrite_letters
from medcritical.text.permutation import draw_order, new_letters, permute_options


def shuffle_question(question: Question, seed: int) -> Question:
    """The question with its options in the order that `seed` gives every copy of it."""
    return permute_options(question, draw_order(question, seed))


def shuffle_trace(trace: Trace, seed: int) -> Trace:
    """The trace with its question shuffled as `shuffle_question` does, and the letters it names following."""
    question = trace.question
    new = new_letters(question, draw_order(question, seed))
    shuffled = shuffle_question(question, seed)
    return dataclasses.replace(
        trace,
        question=shuffled,
        outline=tuple(rewrite_letters(step, new, question.options) for step in trace.outline),
        chain=tuple(rewrite_letters(step, new, question.options) for step in trace.chain),
        response=rewrite_letters(trace.response, new, question.options),
    )
