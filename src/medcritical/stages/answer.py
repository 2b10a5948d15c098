"""answer: held-out questions + checkpoint -> `answers.jsonl`: all of scoring that generates, and nothing else."""

from __future__ import annotations

from medcritical.config.stages import AnswerStage
from medcritical.errors import DataError
from medcritical.evaluation.explanations import require_explained, require_packages
from medcritical.generation.engine import Sampling
from medcritical.records import Answered, Question
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import student_engine
from medcritical.stages.prepare import QUESTIONS
from medcritical.stages.results import ANSWERS
from medcritical.store import read_records
from medcritical.text.permutation import draw_orders, permute_options
from medcritical.text.prompts import attempt_prompt


def run(config: AnswerStage, inputs: Inputs, output: Output) -> None:
    """Write what the checkpoint says to every held-out question, or to it in further orders of its options."""
    every = read_records(inputs["questions"] / QUESTIONS, Question)
    questions = [question for question in every if question.split == config.split][: config.questions]
    if not questions:
        raise DataError(f"there is no {config.split} question to score: raise data.sizes.{config.split}.")
    if config.needs_explanations:
        require_packages()
        require_explained(questions)
    asked = [(question, order) for question in questions for order in orders_of(config, question)]
    with student_engine(config.engine, inputs, "checkpoint", output, config.precision) as engine:
        completions = engine.generate(
            [
                attempt_prompt(config.template, permute_options(question, order), is_bare=not config.chat_template)
                for question, order in asked
            ],
            Sampling(
                temperature=config.temperature,
                top_p=config.top_p,
                max_new_tokens=config.max_new_tokens,
                batch_tokens=config.batch_tokens,
            ),
            samples=config.samples,
            seed=config.seed,
            on_progress=lambda done, total: output.progress(done, total, "answers"),
        )
        output.spend("student", engine.usage)
    output.write(
        ANSWERS,
        (
            Answered(question=question, order=order, completions=tuple(given))
            for (question, order), given in zip(asked, completions, strict=True)
        ),
    )
    unfinished = sum(not completion.is_finished for given in completions for completion in given)
    output.facts.update(answers=len(asked) * config.samples, unfinished=unfinished)
    output.facts["shown"] = [f"{len(asked) * config.samples} answers, {output.student_tokens:,} tokens"]


def orders_of(config: AnswerStage, question: Question) -> list[str]:
    """The orders of its options, as letters, in which a question is asked: its own, or all that were drawn but that."""
    if config.orders == 1:
        return ["".join(question.options)]
    return list(draw_orders(question, config.orders, config.order_seed)[1:])
