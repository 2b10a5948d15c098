"""What `answer` and `score` are told: how checkpoints are asked, and how their answers are read. Pure."""

from __future__ import annotations

import dataclasses

from medcritical.config.schema import BaselineConfig, Config, TemplateConfig
from medcritical.config.stages import AnswerStage, ScoreStage
from medcritical.pipeline.template_texts import ASKED, FORM, SHOWN, reading
from medcritical.pipeline.unread import engine_as_read, precision_as_read, verifier_as_read
from medcritical.store.hashing import derive_seed


def answers(config: Config, root: int) -> AnswerStage:
    """How the student is asked: with the configured prompt at test, if that is another one than in training.

    Samples are drawn from `root`.
    """
    evaluation = config.evaluation
    template = config.template
    if evaluation.prompt:
        template = dataclasses.replace(template, attempt=evaluation.prompt)
    return AnswerStage(
        engine=engine_as_read(config.engine),
        template=reading(template, *ASKED),
        split=evaluation.split,
        questions=evaluation.questions,
        chat_template=evaluation.chat_template,
        samples=1,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p if evaluation.temperature > 0 else 1.0,
        max_new_tokens=evaluation.max_new_tokens or config.generation.max_new_tokens,
        seed=derive_seed(root, "answers") if evaluation.temperature > 0 else 0,
        batch_tokens=config.generation.batch_tokens,
        needs_explanations=evaluation.explanation,
        precision=precision_as_read(config),
    )


def baseline_answers(config: Config, baseline: BaselineConfig) -> AnswerStage:
    """How a published model is asked: in its own way, once for every set of questions."""
    is_sampled = baseline.temperature > 0
    return dataclasses.replace(
        answers(config, config.data.seed),
        template=reading(baseline.template, *ASKED),
        chat_template=True,
        temperature=baseline.temperature,
        top_p=baseline.top_p if is_sampled else 1.0,
        seed=derive_seed(config.data.seed, "answers") if is_sampled else 0,
        max_new_tokens=baseline.max_new_tokens,
    )


def votes(config: Config) -> AnswerStage:
    """Samples for self-consistency, drawn as generation says."""
    drawn = config.generation
    return dataclasses.replace(
        answers(config, config.seed),
        samples=config.evaluation.votes,
        temperature=drawn.temperature,
        top_p=drawn.top_p,
        seed=derive_seed(config.seed, "votes"),
    )


def dev_answers(config: Config, questions: int | None) -> AnswerStage:
    """How the gate asks a policy."""
    return dataclasses.replace(answers(config, config.seed), split="dev", questions=questions, needs_explanations=False)


def in_other_orders(config: Config, stage: AnswerStage) -> AnswerStage:
    """The same questions in further orders of their options; which ones is drawn with the questions."""
    order_seed = derive_seed(config.data.seed, "permutations")
    return dataclasses.replace(stage, orders=config.evaluation.permutations, order_seed=order_seed)


def score(config: Config, template: TemplateConfig) -> ScoreStage:
    """How responses are read and scored. A judge is shown the question as the template writes it."""
    shown = SHOWN if config.verifier.judge is not None else ()
    return ScoreStage(
        template=reading(template, *FORM, *shown),
        verifier=verifier_as_read(config.verifier),
        count_undecided=config.evaluation.count_undecided,
        explanation=config.evaluation.explanation,
    )


def dev_score(config: Config) -> ScoreStage:
    """How the gate scores a policy."""
    return dataclasses.replace(score(config, config.template), explanation=False)
