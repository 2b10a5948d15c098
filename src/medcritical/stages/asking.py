"""The part of `teach` that asks a teacher: until a template is kept, at most `teacher.attempts` times a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

import msgspec

from medcritical.config.schema import TeacherConfig
from medcritical.config.stages import TeachStage
from medcritical.generation.engine import Engine, Sampling
from medcritical.records import Attempt, Completion, Prompt, Question, TaughtCorrection, ThoughtTemplate
from medcritical.stages.context import Output
from medcritical.store.hashing import derive_seed
from medcritical.text.prompts import teach_correction_prompt, teach_prompt
from medcritical.text.thoughts import ThoughtFormat
from medcritical.text.verification import read_correction, read_template

S = TypeVar("S", Question, Attempt)
T = TypeVar("T")


def ask_templates(
    config: TeachStage, engine: Engine, questions: Sequence[Question], output: Output
) -> list[ThoughtTemplate]:
    """All that the teacher wrote, rejected attempts with their reasons before the kept one of a question."""
    form, teacher = ThoughtFormat(config.template), config.teacher
    answers = _ask_until_kept(
        [(question, teach_prompt(config.template, teacher, question)) for question in questions],
        lambda question, completion: read_template(teacher, form, question, completion),
        lambda template: template.is_kept,
        config,
        engine,
        output,
    )
    _describe(teacher, engine, output)
    return answers


def ask_corrections(
    config: TeachStage, engine: Engine, wrong: Sequence[Attempt], output: Output
) -> tuple[list[TaughtCorrection], list[TaughtCorrection]]:
    """(kept, rejected) corrections of wrong attempts."""
    form, teacher = ThoughtFormat(config.template), config.teacher

    def prompt(attempt: Attempt) -> Prompt:
        return teach_correction_prompt(config.template, teacher, attempt.question, attempt.text)

    def read(attempt: Attempt, completion: Completion) -> TaughtCorrection:
        insight, template = read_correction(teacher, form, attempt.question, completion)
        return TaughtCorrection(template=template, attempt=attempt.text, insight=insight, kind="own")

    answers = _ask_until_kept(
        [(attempt, prompt(attempt)) for attempt in wrong],
        read,
        lambda correction: correction.template.is_kept,
        config,
        engine,
        output,
    )
    _describe(teacher, engine, output)
    kept = [answer for answer in answers if answer.template.is_kept]
    return kept, [answer for answer in answers if not answer.template.is_kept]


def _ask_until_kept(
    subjects: Sequence[tuple[S, Prompt]],
    read: Callable[[S, Completion], T],
    is_kept: Callable[[T], bool],
    config: TeachStage,
    engine: Engine,
    output: Output,
) -> list[T]:
    """What was read from every answer: by subject in the given order, and by attempt."""
    sampling = _sampling(config.teacher)
    found: list[list[T]] = [[] for _ in subjects]
    waiting = list(range(len(subjects)))
    for attempt in range(config.teacher.attempts):
        if not waiting:
            break
        answers = engine.generate(
            [subjects[place][1] for place in waiting],
            sampling,
            seed=derive_seed(config.seed, "ask", attempt),
            on_progress=lambda done, total: output.progress(done, total, "answers of the teacher"),
        )
        for place, (completion,) in zip(waiting, answers, strict=True):
            subject, prompt = subjects[place]
            found[place].append(read(subject, _head_cut(prompt, completion) if config.teacher.head_cut else completion))
        waiting = [place for place in waiting if not is_kept(found[place][-1])]
    return [item for items in found for item in items]


def _head_cut(prompt: Prompt, completion: Completion) -> Completion:
    """The published flaw: an answer longer than its prompt loses as many characters, as if it repeated the prompt."""
    cut = len(prompt.user) if len(completion.text) > len(prompt.user) else 0
    return msgspec.structs.replace(completion, text=completion.text[cut:])


def _sampling(teacher: TeacherConfig) -> Sampling:
    """How an asked teacher draws its answers."""
    assert teacher.sampling is not None  # the configuration check has seen to it
    return Sampling(
        temperature=teacher.sampling.temperature,
        top_p=teacher.sampling.top_p,
        max_new_tokens=teacher.sampling.max_new_tokens,
        batch_tokens=teacher.sampling.batch_tokens,
        stop=tuple(teacher.sampling.stop),
    )


def _describe(teacher: TeacherConfig, engine: Engine, output: Output) -> None:
    """Enter what asking took: tokens into the ledger; the engine's counts and what is wrong with the asking into the facts."""
    output.spend("teacher", engine.usage)
    output.facts["usage"] = asdict(engine.usage)
    output.facts["gold_shown"], output.facts["checked"] = teacher.show_gold, teacher.checked
