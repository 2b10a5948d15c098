"""Whether what a teacher wrote may be taught: right answer, all parts, length, language. Pure decisions.

An unchecked teacher (`teacher.checked=false`, a published flaw) has nothing against it: there are no reasons then.
"""

from __future__ import annotations

from collections.abc import Iterator

from medcritical.config.choices import TemplateLevel
from medcritical.config.schema import TeacherConfig
from medcritical.records import Completion, Question, ThoughtTemplate
from medcritical.text.answers import extract_answer
from medcritical.text.language import is_in_language
from medcritical.text.prompts import written_answer
from medcritical.text.thoughts import Thought, ThoughtFormat, split_steps

NOT_IN_FORM = "not in the template's form"


def read_template(
    teacher: TeacherConfig, form: ThoughtFormat, question: Question, completion: Completion
) -> ThoughtTemplate:
    """A teacher's answer as a thought template, with every reason against it in `rejections`.

    An answer in no form is whole in `chain`, so that a person can see what came; an unchecked teacher's is taught so.
    """
    return _judge(teacher, form, question, completion, form.find(completion.text), ())


def read_correction(
    teacher: TeacherConfig, form: ThoughtFormat, question: Question, completion: Completion
) -> tuple[str, ThoughtTemplate]:
    """A teacher's correction: the insight, and the right thought as `read_template` gives it."""
    found = form.find_correction(completion.text)
    insight, thought = found if found is not None else ("", None)
    missing = ("no insight",) if thought is not None and not insight else ()
    return insight, _judge(teacher, form, question, completion, thought, missing)


def length_and_language_faults(teacher: TeacherConfig, text: str, language: str) -> Iterator[str]:
    """Reasons against a thought whose outline and chain are `text`; they hold for recorded teachers too."""
    if not teacher.checked:
        return
    if len(text) < teacher.min_characters:
        yield "too short"
    if teacher.max_characters is not None and len(text) > teacher.max_characters:
        yield "too long"
    if not is_in_language(text, language):
        yield "another language"


def _judge(
    teacher: TeacherConfig,
    form: ThoughtFormat,
    question: Question,
    completion: Completion,
    thought: Thought | None,
    missing: tuple[str, ...],
) -> ThoughtTemplate:
    if thought is None:
        reason = NOT_IN_FORM if completion.is_finished else "cut by the token limit"
        return _template(teacher, question, completion, Thought("", completion.text, ""), None, (reason,))
    outline, chain = split_steps(thought.outline), split_steps(thought.chain)
    # Read from what would be taught and nothing else: words around the form are not.
    letters = extract_answer(form.render(outline, chain, thought.answer), question.options).letters
    reasons = [*missing, *_part_faults(form.template.level, outline, chain)]
    if letters != question.answer:
        reasons.append("no answer" if letters is None else "answers otherwise")
    reasons += length_and_language_faults(teacher, "\n".join([*outline, *chain]), question.language)
    if letters is not None:
        thought = Thought(thought.outline, thought.chain, written_answer(form.template, question, letters))
    return _template(teacher, question, completion, thought, letters, tuple(reasons))


def _part_faults(level: TemplateLevel, outline: tuple[str, ...], chain: tuple[str, ...]) -> Iterator[str]:
    if level in (TemplateLevel.outline, TemplateLevel.both) and not outline:
        yield "no outline"
    if level in (TemplateLevel.detailed, TemplateLevel.both) and not chain:
        yield "no chain"
    if level is TemplateLevel.both and outline and chain and len(outline) != len(chain):
        yield "outline and chain differ in steps"


def _template(
    teacher: TeacherConfig,
    question: Question,
    completion: Completion,
    thought: Thought,
    letters: str | None,
    reasons: tuple[str, ...],
) -> ThoughtTemplate:
    return ThoughtTemplate(
        question=question,
        outline=split_steps(thought.outline),
        chain=split_steps(thought.chain),
        answer=thought.answer,
        letters=letters,
        rejections=reasons if teacher.checked else (),
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
    )
