"""The verifier on questions of the clinic, whose reasoning can be judged too."""

import dataclasses
import random

import pytest

from configurations import configure
from medcritical.config.choices import TemplateLevel
from medcritical.config.schema import SplitSizes
from medcritical.records import Completion, Question
from medcritical.selfplay.verify import read_attempt
from medcritical.text.thoughts import ThoughtFormat
from medcritical.world import corrupt, generate_questions, write_template


@pytest.fixture(scope="module")
def form() -> ThoughtFormat:
    return ThoughtFormat(configure().template)


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    world = configure("data/world=easy").data.world
    assert world is not None
    return generate_questions(world, SplitSizes(train=60, dev=0, test=1), seed=1)[:60]


def completed(text: str, *, is_finished: bool = True) -> Completion:
    return Completion(text=text, prompt_tokens=30, completion_tokens=12, is_finished=is_finished)


def written(form: ThoughtFormat, question: Question) -> str:
    thought = write_template(question)
    return form.render(thought.outline, thought.chain, thought.answer)


def test_the_teachers_own_thoughts_are_right_and_sound(form: ThoughtFormat, questions: list[Question]) -> None:
    for question in questions:
        attempt = read_attempt(form, question, completed(written(form, question)), round=3)
        assert (attempt.letters, attempt.is_correct, attempt.is_well_formed, attempt.is_sound) == (
            question.answer,
            True,
            True,
            True,
        )
        assert (attempt.question, attempt.round) == (question, 3)
        assert (attempt.prompt_tokens, attempt.completion_tokens) == (30, 12)


def test_wrong_thoughts_are_wrong_and_unsound(form: ThoughtFormat, questions: list[Question]) -> None:
    rng, seen = random.Random(0), 0
    for question in questions:
        wrong = corrupt(question, rng)
        if wrong is not None:
            seen += 1
            text = form.render(wrong.outline, wrong.chain, wrong.answer)
            attempt = read_attempt(form, question, completed(text), round=0)
            assert attempt.letters not in (None, question.answer)
            assert question.options[attempt.letters] == wrong.answer
            assert (attempt.is_correct, attempt.is_well_formed, attempt.is_sound) == (False, True, False)
    assert seen > 40


def test_a_right_answer_for_wrong_reasons_is_correct_and_not_sound(
    form: ThoughtFormat, questions: list[Question]
) -> None:
    seen = 0
    for question in questions:
        wrong = corrupt(question, random.Random(1))
        right = write_template(question)
        if wrong is None or wrong.insight.startswith("s4"):  # the last step alone is no reasoning
            continue
        seen += 1
        attempt = read_attempt(
            form, question, completed(form.render(wrong.outline, wrong.chain, right.answer)), round=0
        )
        assert (attempt.is_correct, attempt.is_well_formed, attempt.is_sound) == (True, True, False)
    assert seen > 20


def test_what_is_cut_or_out_of_form_is_not_sound(form: ThoughtFormat, questions: list[Question]) -> None:
    question = questions[0]
    text = written(form, question)
    cut = read_attempt(form, question, completed(text, is_finished=False), round=0)
    assert (cut.is_well_formed, cut.is_sound) == (False, False)
    loose = read_attempt(form, question, completed(f"{text} thank you"), round=0)
    assert (loose.is_well_formed, loose.is_sound) == (False, False)
    answer = write_template(question).answer
    bare = read_attempt(form, question, completed(f"<answer> {answer} </answer>"), round=0)
    assert (bare.is_correct, bare.is_well_formed, bare.is_sound) == (True, False, False)


def test_an_answer_that_is_no_option_is_wrong_in_good_form(form: ThoughtFormat, questions: list[Question]) -> None:
    question = questions[0]
    thought = write_template(question)
    text = form.render(thought.outline, thought.chain, "moonlight")
    attempt = read_attempt(form, question, completed(text), round=0)
    assert (attempt.letters, attempt.is_correct, attempt.is_well_formed, attempt.is_sound) == (None, False, True, False)


@pytest.mark.parametrize("text", ["", "   ", "<answer> </answer>", "s1 key"])
def test_what_answers_nothing_has_no_letters(form: ThoughtFormat, questions: list[Question], text: str) -> None:
    attempt = read_attempt(form, questions[0], completed(text), round=0)
    assert (attempt.letters, attempt.is_correct, attempt.is_well_formed) == (None, False, False)


def test_soundness_is_unknown_where_no_case_is_known() -> None:
    question = Question(
        id="q", stem="s", options={"A": "x", "B": "y"}, answer="B", language="en", split="test", source="jsonl"
    )
    template = dataclasses.replace(configure("template=two_level_en").template, level=TemplateLevel.detailed)
    attempt = read_attempt(
        ThoughtFormat(template), question, completed("<think>t</think>\n<answer>B</answer>"), round=0
    )
    assert (attempt.letters, attempt.is_correct, attempt.is_well_formed, attempt.is_sound) == ("B", True, True, None)
