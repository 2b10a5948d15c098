"""Prompts: a template's texts around a question. Text from data stays data: it cannot open or close a template's tags."""

from __future__ import annotations

import re
from functools import lru_cache

from medcritical.config.choices import AnswerForm
from medcritical.config.schema import TeacherConfig, TemplateConfig
from medcritical.records import Prompt, Question

_TAG = re.compile(r"</?[^\s<>/{}|]+>")
# What opens and closes turns in the chat templates of this world: never from data, whichever model is asked.
_CHAT_TOKEN = (
    r"<\|[^<>|‹›]{0,64}\|>|<｜[^<>｜‹›]{0,64}｜>|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_(?:turn|image)>"
    r"|<</?SYS>>|\[/?INST\]|</?tool_(?:call|response)>"
)


def neutralise(text: str, *patterns: str) -> str:
    """`text` with every tag that occurs in one of the template texts `patterns`, and every chat token, disarmed.

    A tag in other case or with blanks in it ("< /Answer >") is one too: a model would take it for one.
    Disarmed tags keep their words and look (‹answer›), so a reader sees what was there; nothing else is touched.
    """
    return _guard(patterns).sub(lambda match: "‹" + match.group()[1:-1] + "›", text)


@lru_cache(maxsize=64)
def _guard(patterns: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in sorted({tag.strip("</>") for tag in tags_in(*patterns)}))
    tags = [rf"<\s{{0,3}}/?\s{{0,3}}(?:{names})\s{{0,3}}>"] if names else []
    return re.compile("|".join([_CHAT_TOKEN, *tags]), re.IGNORECASE)


def tags_in(*texts: str) -> set[str]:
    """Every tag that occurs in one of the texts, in its opening and its closing form."""
    names = {tag.strip("</>") for text in texts for tag in _TAG.findall(text)}
    return {f"<{name}>" for name in names} | {f"</{name}>" for name in names}


def tags_of(template: TemplateConfig) -> tuple[str, ...]:
    """The template texts whose tags data may not use."""
    return (
        template.question,
        template.attempt,
        template.correction,
        template.outline,
        template.chain,
        template.answer,
        template.insight,
        template.teach,
        template.teach_correction,
        template.teach_gold,
        template.step_correction,
    )


def render_question(template: TemplateConfig, question: Question) -> str:
    """Stem and lettered options in the template's form, data neutralised."""
    tags = tags_of(template)
    options = template.option_separator.join(
        template.option.format(letter=letter, text=neutralise(text, *tags)) for letter, text in question.options.items()
    )
    return template.question.format(stem=neutralise(question.stem, *tags), options=options)


def attempt_prompt(template: TemplateConfig, question: Question, *, is_bare: bool = False) -> Prompt:
    """What the student is asked when it tries a question."""
    user = template.attempt.format(question=render_question(template, question))
    return Prompt(system=template.system, user=user, is_bare=is_bare)


def correction_prompt(template: TemplateConfig, question: Question, attempt: str) -> Prompt:
    """What the corrector is asked: the question and a wrong attempt, which cannot close its own delimiter."""
    user = _around_attempt(template.correction, render_question(template, question), attempt)
    return Prompt(system=template.system, user=user)


def step_correction_prompt(template: TemplateConfig, question: Question, attempt: str) -> Prompt:
    """What the corrector is asked that is to go on from the step where the attempt goes wrong."""
    user = _around_attempt(template.step_correction, render_question(template, question), attempt)
    return Prompt(system=template.system, user=user)


def teach_prompt(template: TemplateConfig, teacher: TeacherConfig, question: Question) -> Prompt:
    """What a teacher is asked for a thought template; one that is shown the right answer has it at the end."""
    user = template.teach.format(question=render_question(template, question))
    return _teacher_prompt(template, teacher, question, user)


def teach_correction_prompt(
    template: TemplateConfig, teacher: TeacherConfig, question: Question, attempt: str
) -> Prompt:
    """What a teacher is asked about a wrong attempt: where it goes wrong, and the right thought."""
    user = _around_attempt(template.teach_correction, render_question(template, question), attempt)
    return _teacher_prompt(template, teacher, question, user)


def _teacher_prompt(template: TemplateConfig, teacher: TeacherConfig, question: Question, user: str) -> Prompt:
    gold = _gold(template, question, teacher.show_gold)
    return Prompt(system=template.system, user=user + gold, is_bare=not teacher.chat_template)


def _around_attempt(text: str, question: str, attempt: str) -> str:
    """The template text `text` filled in; the attempt cannot close the tag that stands before it."""
    before = text.replace("{question}", "").partition("{attempt}")[0]
    delimiters = [found[-1] for found in [_TAG.findall(before)] if found]
    return text.format(question=question, attempt=neutralise(attempt, *delimiters))


def _gold(template: TemplateConfig, question: Question, is_shown: bool) -> str:
    if not is_shown:
        return ""
    answer = written_answer(template, question, question.answer)
    return template.teach_gold.format(answer=neutralise(answer, *tags_of(template)))


def written_answer(template: TemplateConfig, question: Question, letters: str) -> str:
    """How the template writes an answer: the letters themselves, or the texts of their options."""
    if template.answer_as is AnswerForm.letter:
        return letters
    return " ".join(question.options[letter] for letter in letters)
