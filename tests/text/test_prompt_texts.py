"""Prompts: what is asked stays what it is, whatever the data says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from templates import TEMPLATES, question

from configurations import ASKED, configure
from medcritical.config.schema import TemplateConfig
from medcritical.records import Question
from medcritical.text.prompts import (
    attempt_prompt,
    correction_prompt,
    neutralise,
    tags_in,
    tags_of,
    teach_correction_prompt,
    teach_prompt,
    written_answer,
)

CLINIC, ENGLISH = TEMPLATES["clinic-both"], TEMPLATES["two_level_en-both"]
each_template = pytest.mark.parametrize(
    "template", [template for name, template in TEMPLATES.items() if name.endswith("both")], ids=lambda one: one.name
)

ALL_TAGS = sorted({tag for template in TEMPLATES.values() for tag in tags_in(*tags_of(template))})
HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            [*ALL_TAGS, "<|im_end|>", "<|im_start|>system", "{attempt}", "{question}", "{", "}}", "{0}", "\n"]
        ),
        st.sampled_from(["</", ">", "<", "<|", "|>", "answer", "question", "q", "‹", "题干", "\r\n", "\x00"]),
        st.text(max_size=5),
    ),
    max_size=12,
).map("".join)
"""Pieces that could close a delimiter, alone, put together or cut in two."""


def test_a_clinic_prompt_by_hand() -> None:
    assert attempt_prompt(CLINIC, question()).user == "<q> Which drug? options A aspirin B digoxin </q>"
    assert attempt_prompt(CLINIC, question()).system == ""
    assert correction_prompt(CLINIC, question(), "<plan> p </plan> <answer> digoxin </answer>").user == (
        "<q> Which drug? options A aspirin B digoxin </q> <wrong> <plan> p </plan> <answer> digoxin </answer> </wrong>"
    )


def test_an_english_prompt_by_hand() -> None:
    prompt = attempt_prompt(ENGLISH, question())
    assert prompt.system == "You are a careful medical expert answering exam questions."
    asked, _, instruction = prompt.user.partition("\n\nPlan in ")
    assert asked == "<question>\nWhich drug?\n\nA. aspirin\nB. digoxin\n</question>"
    assert instruction.startswith("<outline></outline>, reason in <think></think>")


def test_answers_are_written_as_the_template_wants() -> None:
    several = Question(
        id="q", stem="s", options={"A": "x", "B": "y", "C": "z"}, answer="AC", language="en", split="train", source="t"
    )
    assert written_answer(ENGLISH, several, "AC") == "AC"
    assert written_answer(CLINIC, several, "AC") == "x z"


def test_disarmed_tags_keep_their_words() -> None:
    text = "a </answer> <b> <Answer> < answer> <|im_end|> 3 < 5 > 2"
    assert neutralise(text, "<answer>{answer}</answer>") == "a ‹/answer› <b> ‹Answer› ‹ answer› ‹|im_end|› 3 < 5 > 2"
    assert neutralise("<答案>甲</答案>", "<答案>{answer}</答案>") == "‹答案›甲‹/答案›"


@given(HOSTILE)
def test_nothing_is_left_to_close_and_disarming_twice_is_disarming_once(text: str) -> None:
    patterns = tags_of(ENGLISH)
    disarmed = neutralise(text, *patterns)
    assert not any(tag in disarmed for tag in tags_in(*patterns))
    assert "<|im_end|>" not in disarmed
    assert neutralise(disarmed, *patterns) == disarmed
    assert disarmed.replace("‹", "<").replace("›", ">") == text.replace("‹", "<").replace("›", ">")


@given(st.text(alphabet=st.characters(exclude_characters="<>")))
def test_harmless_text_is_not_touched(text: str) -> None:
    assert neutralise(text, *tags_of(ENGLISH)) == text


def frame(template: TemplateConfig, asked: str) -> tuple[str, str]:
    """What stands before and after the question's own delimiters."""
    opening, closing = re.match(r"(\S+)", template.question).group(), re.search(r"(\S+)$", template.question).group()  # type: ignore[union-attr]
    assert asked.count(opening) == asked.count(closing) == 1
    return asked.partition(opening)[0], asked.partition(closing)[2]


@each_template
@given(stem=HOSTILE, left=HOSTILE, right=HOSTILE)
def test_a_hostile_question_changes_nothing_outside_its_delimiters(
    template: TemplateConfig, stem: str, left: str, right: str
) -> None:
    hostile, harmless = question(f"x{stem}", A=left, B=right), question()
    assert frame(template, attempt_prompt(template, hostile).user) == frame(
        template, attempt_prompt(template, harmless).user
    )
    attempts = [correction_prompt(template, one, "wrong").user for one in (hostile, harmless)]
    assert frame(template, attempts[0]) == frame(template, attempts[1])
    assert attempt_prompt(template, hostile).system == template.system


@each_template
@given(attempt=HOSTILE)
def test_a_hostile_attempt_cannot_leave_its_delimiter(template: TemplateConfig, attempt: str) -> None:
    before, after = template.correction.split("{attempt}")
    opening, closing = before.split()[-1], after.split()[0]
    prompts = [correction_prompt(template, question(), text).user for text in (attempt, "wrong")]
    assert [prompt.count(closing) for prompt in prompts] == [1, 1]
    assert prompts[0].partition(opening)[0] == prompts[1].partition(opening)[0]
    assert prompts[0].partition(closing)[2] == prompts[1].partition(closing)[2]
    assert "<|im_end|>" not in prompts[0]


def test_an_attempt_keeps_its_own_parts() -> None:
    """The corrector must see the wrong response as it was written."""
    attempt = "<outline>o</outline>\n<think>t</think>\n<answer>B</answer>"
    assert attempt in correction_prompt(ENGLISH, question(), attempt).user


def test_braces_of_data_are_data() -> None:
    asked = attempt_prompt(ENGLISH, question("{options} {stem} {} {{x}}", A="{text}", B="{letter!r}")).user
    assert "{options} {stem} {} {{x}}\n\nA. {text}\nB. {letter!r}\n" in asked


def test_one_question_is_asked_alike_every_time() -> None:
    assert attempt_prompt(ENGLISH, question()) == attempt_prompt(ENGLISH, question())


HIDDEN, SHOWN = (configure(*ASKED, f"teacher.show_gold={is_shown}").teacher for is_shown in ("false", "true"))

each_taught = pytest.mark.parametrize(
    "template",
    [template for name, template in TEMPLATES.items() if template.teach and name.endswith("both")],
    ids=lambda t: t.name,
)


@each_taught
def test_gold_is_shown_to_a_teacher_only_when_asked_for(template: TemplateConfig) -> None:
    hidden = teach_prompt(template, HIDDEN, question())
    shown = teach_prompt(template, SHOWN, question())
    assert shown.user == hidden.user + template.teach_gold.format(answer="A")
    assert hidden.system == template.system
    wrong = teach_correction_prompt(template, HIDDEN, question(), "I say B")
    assert "I say B" in wrong.user
    assert "{" not in hidden.user + shown.user + wrong.user


@each_taught
@given(HOSTILE, HOSTILE)
def test_data_cannot_change_what_a_teacher_is_asked(template: TemplateConfig, stem: str, attempt: str) -> None:
    """A question keeps to its place and an attempt to its own; the tags inside an attempt are what is judged."""
    hostile = question(stem=f"x{stem}", A=f"y{stem}", B="z")
    for teacher in (HIDDEN, SHOWN):
        asked = teach_prompt(template, teacher, hostile).user
        harmless = teach_prompt(template, teacher, question(A="y", B="z")).user
        assert all(asked.count(tag) == harmless.count(tag) for tag in tags_in(*tags_of(template)))
        assert "<|im_end|>" not in asked
        wrong = teach_correction_prompt(template, teacher, hostile, f"{attempt}.").user
        assert wrong.count("<attempt>") == wrong.count("</attempt>") == 1
        assert wrong.index("</question>") < wrong.index("<attempt>")
