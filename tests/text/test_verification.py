"""What of a teacher's writing may be taught, and why the rest may not."""

import dataclasses

import pytest
from templates import TEMPLATES, question

from configurations import ASKED, configure
from medcritical.config.schema import TeacherConfig
from medcritical.records import Completion, Question, ThoughtTemplate
from medcritical.text.thoughts import ThoughtFormat
from medcritical.text.verification import read_correction, read_template

ASKING = configure(*ASKED).teacher
TEACHER = dataclasses.replace(ASKING, min_characters=20, max_characters=200)
OPTIONS = {"A": "aspirin", "B": "digoxin", "C": "heparin"}


def completion(text: str, is_finished: bool = True) -> Completion:
    return Completion(text=text, prompt_tokens=11, completion_tokens=22, is_finished=is_finished)


def write(
    outline: str = "1. look\n2. decide", chain: str = "1. there is fever\n2. so digoxin", answer: str = "B"
) -> str:
    return f"<outline>{outline}</outline>\n<think>{chain}</think>\n<answer>{answer}</answer>"


def read(text: str, template: str = "two_level_en-both", right: str = "B", **record: bool) -> ThoughtTemplate:
    asked = question(**OPTIONS)
    asked = Question(**{**{name: getattr(asked, name) for name in asked.__struct_fields__}, "answer": right})
    return read_template(TEACHER, ThoughtFormat(TEMPLATES[template]), asked, completion(text, **record))


def test_a_right_whole_template_is_kept_in_parts() -> None:
    template = read(write())
    assert template.is_kept
    assert template.outline == ("1. look", "2. decide")
    assert template.chain == ("1. there is fever", "2. so digoxin")
    assert (template.answer, template.letters) == ("B", "B")
    assert (template.prompt_tokens, template.completion_tokens) == (11, 22)


@pytest.mark.parametrize("answer", ["B", "B.", "(B)", "B. digoxin", "digoxin", " b "])
def test_an_answer_is_written_in_the_templates_own_way(answer: str) -> None:
    template = read(write(answer=answer))
    assert (template.is_kept, template.answer) == (True, "B")


def test_several_right_letters() -> None:
    assert read(write(answer="C, B"), right="BC").answer == "BC"
    assert read(write(answer="B"), right="BC").rejections == ("answers otherwise",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (write(answer="C"), "answers otherwise"),
        (write(answer="none of them"), "no answer"),
        (write(answer=""), "no answer"),
        (write(outline=""), "no outline"),
        (write(chain=" \n"), "no chain"),
        (write(outline="1. look"), "outline and chain differ in steps"),
        (write(outline="1. l\n2. d", chain="1. f\n2. d"), "too short"),
        (write(chain="1. fever\n2. " + "so " * 100), "too long"),
        (write(outline="1. 看病情\n2. 下结论", chain="1. 患者发热三天\n2. 因此选择地高辛治疗"), "another language"),
        ("Digoxin, because there is fever.", "not in the template's form"),
        (write().replace("</think>", ""), "not in the template's form"),
        ("", "not in the template's form"),
    ],
)
def test_what_is_wrong_is_said(text: str, reason: str) -> None:
    template = read(text)
    assert reason in template.rejections
    assert not template.is_kept


def test_every_reason_is_said() -> None:
    assert read(write(outline="", chain="f", answer="A")).rejections == ("no outline", "answers otherwise", "too short")


def test_what_was_cut_says_so_and_a_cut_end_after_the_form_does_no_harm() -> None:
    cut = read(write()[:60], is_finished=False)
    assert cut.rejections == ("cut by the token limit",)
    assert cut.chain == tuple(write()[:60].split("\n"))
    assert read(write() + " and one more th", is_finished=False).is_kept


def test_the_answer_is_read_from_the_form_alone() -> None:
    assert read(f"My first thought: the answer is C.\n{write()}").is_kept
    assert read(f"{write(answer='C')}\nThe right answer is B.").rejections == ("answers otherwise",)


def test_the_single_format_needs_no_outline() -> None:
    template = read("<think>there is fever and so on</think><answer>B</answer>", "paper_en-detailed")
    assert (template.is_kept, template.outline, template.chain) == (True, (), ("there is fever and so on",))


def correct(text: str, teacher: TeacherConfig = TEACHER) -> tuple[str, ThoughtTemplate]:
    form = ThoughtFormat(TEMPLATES["two_level_en-both"])
    asked = question(**OPTIONS)
    return read_correction(teacher, form, asked, completion(text))


def test_a_correction_has_an_insight_and_a_right_thought() -> None:
    insight, template = correct(f"<error>step 2 overlooks it</error>\n{write(answer='A')}")
    assert (insight, template.is_kept, template.letters) == ("step 2 overlooks it", True, "A")
    assert correct(write(answer="A"))[1].rejections == ("not in the template's form",)
    assert correct(f"<error> </error>{write(answer='A')}")[1].rejections == ("no insight",)
    assert correct(f"<error>x</error>{write(answer='C')}")[1].rejections == ("answers otherwise",)


def test_an_unchecked_teacher_is_believed_whatever_it_writes() -> None:
    """The published flaw: a wrong answer, one in no form and one cut in mid-thought are all taught."""
    unchecked = dataclasses.replace(TEACHER, checked=False)
    form, asked = ThoughtFormat(TEMPLATES["two_level_en-both"]), question(**OPTIONS)
    wrong = read_template(unchecked, form, asked, completion(write(answer="C")))
    formless = read_template(unchecked, form, asked, completion("no idea"))
    cut = read_template(unchecked, form, asked, completion("<outline>1. look", is_finished=False))
    assert [template.is_kept for template in (wrong, formless, cut)] == [True] * 3
    assert (wrong.letters, wrong.answer) == ("C", "C")
    assert (formless.chain, formless.answer, formless.letters) == (("no idea",), "", None)
