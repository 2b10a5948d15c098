"""The part of `evaluate` that asks every question in several orders of its options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from medcritical.config.stages import EvaluateStage
from medcritical.evaluation.robustness import consistency
from medcritical.generation.engine import Engine, Sampling
from medcritical.records import Attempt, Record
from medcritical.stages.context import Output
from medcritical.text.answers import extract_answer
from medcritical.text.permutation import draw_orders, permute_options, restore_letters
from medcritical.text.prompts import attempt_prompt

PERMUTATIONS = "permutations.jsonl"


class PermutedAnswers(Record, frozen=True, kw_only=True):
    """Answers to one question under several orders of its options, in the letters of the question itself.

    The first order is the question's own. Written by `evaluate`.
    """

    question_id: str
    answer: str
    orders: tuple[str, ...]
    letters: tuple[str | None, ...]


@dataclass(frozen=True)
class Permuted:
    """What several orders show: mean accuracy over all answers, and share of questions with one answer throughout."""

    accuracy: float
    consistency: float


def ask_permuted(
    config: EvaluateStage, engine: Engine, sampling: Sampling, predictions: Sequence[Attempt], output: Output
) -> Permuted:
    """Ask every predicted question in the orders it was not asked in yet; write all answers to `permutations.jsonl`."""
    orders = [draw_orders(attempt.question, config.permutations, config.seed) for attempt in predictions]
    asked = [
        permute_options(attempt.question, order)
        for attempt, drawn in zip(predictions, orders, strict=True)
        for order in drawn[1:]
    ]
    completions = engine.generate(
        [attempt_prompt(config.template, question, is_bare=not config.chat_template) for question in asked],
        sampling,
        seed=0,
        on_progress=lambda done, total: output.progress(done, total, "answers in other orders"),
    )
    read = iter(
        [
            extract_answer(completion.text, question.options).letters
            for question, (completion,) in zip(asked, completions, strict=True)
        ]
    )
    answers = [_gather(attempt, drawn, read) for attempt, drawn in zip(predictions, orders, strict=True)]
    output.write(PERMUTATIONS, answers)
    return Permuted(
        accuracy=fmean(fmean(letters == item.answer for letters in item.letters) for item in answers),
        consistency=consistency([item.letters for item in answers]),
    )


def _gather(attempt: Attempt, orders: Sequence[str], read: Iterator[str | None]) -> PermutedAnswers:
    """The answers to one question; `read` gives those to its further orders, in the letters of each."""
    question = attempt.question
    others = tuple(restore_letters(next(read), question, order) for order in orders[1:])
    return PermutedAnswers(
        question_id=question.id, answer=question.answer, orders=tuple(orders), letters=(attempt.letters, *others)
    )
