"""teach: questions -> `templates.jsonl` (and synthetic `corrections.jsonl`); own wrong attempts -> `corrections.jsonl`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

from medcritical.config.choices import TeacherKind
from medcritical.config.schema import TeacherConfig
from medcritical.config.stages import TeachStage
from medcritical.data.contamination import find_near
from medcritical.data.traces import Trace, load_traces
from medcritical.errors import DataError
from medcritical.records import Attempt, Question, TaughtCorrection, ThoughtTemplate
from medcritical.selfplay.trials import trials_of
from medcritical.stages.asking import ask_corrections, ask_templates
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import asked_engine
from medcritical.stages.play import ATTEMPTS, select_questions
from medcritical.stages.prepare import QUESTIONS
from medcritical.stages.shuffled import shuffle_trace
from medcritical.store import read_records
from medcritical.text.answers import extract_answer
from medcritical.text.prompts import written_answer
from medcritical.text.thoughts import ThoughtFormat
from medcritical.text.verification import length_and_language_faults
from medcritical.world import corrupt, locate, write_template

TEMPLATES, CORRECTIONS, REJECTED = "templates.jsonl", "corrections.jsonl", "rejected_corrections.jsonl"


def run(config: TeachStage, inputs: Inputs, output: Output) -> None:
    """Write what the teacher gives. Facts: templates kept and rejected by reason, corrections."""
    form = ThoughtFormat(config.template)
    if "attempts" in inputs:
        corrections = _correct_own(config, form, inputs, output)
        output.facts["shown"] = [f"{len(corrections)} corrections"]
    else:
        templates = _write_templates(config, inputs, output)
        corrections = _corrupted(config, form, templates)
        kept = [template for template in templates if template.is_kept]
        if not kept:
            reasons = Counter(reason for template in templates for reason in template.rejections)
            raise DataError(f"teacher={config.teacher.name} gave no usable template: {dict(reasons) or 'no traces'}.")
        output.write(TEMPLATES, templates)
        output.write(QUESTIONS, [template.question for template in kept])
        output.facts["templates"] = len(kept)
        output.facts["rejected"] = dict(Counter(reason for item in templates for reason in item.rejections))
        output.facts["questions"] = len({template.question.id for template in templates})
        output.facts["shown"] = [f"{len(kept)} templates of {len(templates)}, {len(corrections)} corrections"]
    if config.teacher.kind is not TeacherKind.engine:  # what asking took is entered where it is done
        output.teacher_tokens = sum(item.template.completion_tokens + _words(item.insight) for item in corrections)
        if "attempts" not in inputs:
            output.teacher_tokens += sum(template.completion_tokens for template in templates)
            output.teacher_tokens += sum(_words(item.attempt) for item in corrections)
    output.write(CORRECTIONS, corrections)
    output.facts["corrections"] = len(corrections)


def _write_templates(config: TeachStage, inputs: Inputs, output: Output) -> list[ThoughtTemplate]:
    questions = read_records(inputs["questions"] / QUESTIONS, Question)
    if config.teacher.kind is TeacherKind.recorded:
        return _recorded(config, questions, output)
    assert config.questions is not None
    wanted = select_questions(questions, config.questions)
    if config.teacher.kind is TeacherKind.oracle:
        return [write_template(question) for question in wanted]
    assert config.teacher.engine is not None
    with asked_engine(config.teacher.engine, inputs, output) as engine:
        return ask_templates(config, engine, wanted, output)


def _recorded(config: TeachStage, questions: Iterable[Question], output: Output) -> list[ThoughtTemplate]:
    """Recorded traces as templates of their own questions, as many as are asked for.

    Traces on held-out questions, or on copies of them as `prepare` finds them, are rejected and come on top of these.
    """
    seed = config.shuffle_seed
    traces = [trace if seed is None else shuffle_trace(trace, seed) for trace in _traces(config.teacher, output)]
    refused = _held_out([trace.question for trace in traces], questions, config.contamination)
    templates = []
    for number, trace in enumerate(traces):
        stated = extract_answer(trace.response, trace.question.options).letters
        text = "\n".join([*trace.outline, *trace.chain])
        reasons = list(length_and_language_faults(config.teacher, text, trace.question.language))
        if number in refused:
            reasons.append(refused[number])
        if config.teacher.checked and stated is not None and stated != trace.question.answer:
            reasons.append("trace answers otherwise")
        templates.append(
            ThoughtTemplate(
                question=trace.question,
                outline=trace.outline,
                chain=trace.chain,
                answer=written_answer(config.template, trace.question, trace.question.answer),
                letters=trace.question.answer,
                rejections=tuple(reasons),
            )
        )
    count = config.questions.count if config.questions else None
    order = list(range(len(templates)))
    Random(config.seed).shuffle(order)
    wanted = [number for number in order if number not in refused][:count]
    return [templates[number] for number in (*wanted, *refused)]


def _held_out(asked: list[Question], questions: Iterable[Question], threshold: float | None) -> dict[int, str]:
    """Positions, in order, of what nobody may learn from, and the reason for each."""
    held_out = [question for question in questions if question.split != "train"]
    exact, near = (find_near(asked, held_out, threshold=limit) for limit in (None, threshold))
    return {
        number: "question is held out" if number in exact else "question is nearly a held-out one"
        for number in sorted(exact | near)
    }


def _traces(teacher: TeacherConfig, output: Output) -> list[Trace]:
    assert teacher.format is not None
    traces: list[Trace] = []
    for path in teacher.files:
        result = load_traces(
            path,
            teacher.format,
            teacher.chain,
            encoding=teacher.encoding,
            language=teacher.language,
            source=teacher.format.source,
            on_error=teacher.on_error,
        )
        output.facts.setdefault("load_reports", []).append(result.report.to_dict())
        traces += result.traces
    return traces


def _corrupted(config: TeachStage, form: ThoughtFormat, templates: list[ThoughtTemplate]) -> list[TaughtCorrection]:
    """Synthetic wrong attempts on the first templates, with their corrections."""
    rng = Random(config.seed)
    corrections = []
    for template in templates[: round(config.synthetic_corrections * len(templates))]:
        wrong = corrupt(template.question, rng)
        if wrong is not None:
            attempt = form.render(wrong.outline, wrong.chain, wrong.answer)
            corrections.append(
                TaughtCorrection(template=template, attempt=attempt, insight=wrong.insight, kind="synthetic")
            )
    return corrections


def _correct_own(config: TeachStage, form: ThoughtFormat, inputs: Inputs, output: Output) -> list[TaughtCorrection]:
    """Corrections of the student's distinct wrong attempts, at most `max_wrong` a question."""
    wrong_attempts = list(_wrong_attempts(config, inputs))
    if config.teacher.kind is TeacherKind.engine:
        assert config.teacher.engine is not None
        with asked_engine(config.teacher.engine, inputs, output) as engine:
            kept, rejected = ask_corrections(config, engine, wrong_attempts, output)
        output.write(REJECTED, rejected)
        output.facts["rejected"] = dict(Counter(reason for item in rejected for reason in item.template.rejections))
        return kept
    known = {
        template.question.id: template
        for template in read_records(inputs["templates"] / TEMPLATES, ThoughtTemplate)
        if template.is_kept
    }
    corrections = []
    for wrong in wrong_attempts:
        template, insight = _teach_error(config, form, wrong.question, wrong, known)
        if template is not None and insight is not None:
            corrections.append(TaughtCorrection(template=template, attempt=wrong.text, insight=insight, kind="own"))
    return corrections


def _wrong_attempts(config: TeachStage, inputs: Inputs) -> Iterator[Attempt]:
    for trial in trials_of(read_records(inputs["attempts"] / ATTEMPTS, Attempt), []):
        yield from trial.wrong[: config.max_wrong]


def _teach_error(
    config: TeachStage, form: ThoughtFormat, question: Question, wrong: Attempt, known: dict[str, ThoughtTemplate]
) -> tuple[ThoughtTemplate | None, str | None]:
    """The right template and the insight. The oracle locates the first faulty step; recorded traces cannot."""
    thought = form.parse(wrong.text)
    assert thought is not None  # `Trial.wrong` holds attempts in strict form only
    if config.teacher.kind is TeacherKind.oracle:
        return write_template(question), locate(question, thought.chain, thought.answer)
    return known.get(question.id), config.template.wrong_answer.format(answer=thought.answer)


def _words(text: str) -> int:
    return len(text.split())
