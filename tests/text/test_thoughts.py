"""The strict form of a response: what is written can be read again, and nothing else can."""

import dataclasses
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from templates import TEMPLATES
from test_prompt_texts import HOSTILE

from medcritical.config.choices import TemplateLevel
from medcritical.config.schema import TemplateConfig
from medcritical.text.prompts import neutralise, tags_in
from medcritical.text.thoughts import Thought, ThoughtFormat, split_steps

ENGLISH = ThoughtFormat(TEMPLATES["two_level_en-both"])
RIGHT = "<outline>o</outline>\n<think>t</think>\n<answer>B</answer>"
SECONDS = 0.5
MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    ("level", "text"),
    [
        ("both", "<plan> p1 > p2 </plan> <think> s1 a s2 b </think> <answer> digoxin </answer>"),
        ("outline", "<plan> p1 > p2 </plan> <answer> digoxin </answer>"),
        ("detailed", "<think> s1 a s2 b </think> <answer> digoxin </answer>"),
        ("none", "<answer> digoxin </answer>"),
    ],
)
def test_the_four_levels_by_hand(level: str, text: str) -> None:
    form = ThoughtFormat(TEMPLATES[f"clinic-{level}"])
    assert form.render(["p1", "p2"], ["s1 a", "s2 b"], "digoxin") == text
    assert form.parse(text) == Thought(
        outline="p1 > p2" if "plan" in text else "",
        chain="s1 a s2 b" if "think" in text else "",
        answer="digoxin",
    )


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])  # drawing is slow on a busy machine
@given(outline=st.lists(HOSTILE, max_size=3), chain=st.lists(HOSTILE, max_size=3), answer=HOSTILE, insight=HOSTILE)
def test_whatever_is_written_can_be_read(
    template: TemplateConfig, outline: list[str], chain: list[str], answer: str, insight: str
) -> None:
    form = ThoughtFormat(template)
    response = form.render(outline, chain, answer)
    tags = (template.outline, template.chain, template.answer, template.insight)

    def disarmed(text: str) -> str:
        """As `render` writes it; a level without an outline leaves `<plan>` in a chain alone, where it means nothing."""
        used = [tag for tag, name in zip(tags, ("outline", "chain", "answer", "insight"), strict=True) if uses(name)]
        return neutralise(text, *used).strip()

    def uses(name: str) -> bool:
        levels = {"outline": ("outline", "both"), "chain": ("detailed", "both")}
        return template.level.value in levels.get(name, (template.level.value,))

    assert form.parse(response) == Thought(
        outline=disarmed(template.outline_separator.join(outline)) if uses("outline") else "",
        chain=disarmed(template.chain_separator.join(chain)) if uses("chain") else "",
        answer=disarmed(answer),
    )
    assert form.split_correction(form.render_correction(insight, response)) == (disarmed(insight), response)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        RIGHT.replace("<outline>o</outline>", ""),
        RIGHT.replace("<think>t</think>", ""),
        RIGHT.replace("<answer>B</answer>", ""),
        RIGHT.replace("</answer>", ""),
        RIGHT.replace("<think>", ""),
        RIGHT.replace("</outline>\n<think>", ""),
        RIGHT + "\n<answer>C</answer>",
        RIGHT + RIGHT,
        RIGHT + " I hope this helps.",
        "Sure! " + RIGHT,
        "<think>t</think>\n<outline>o</outline>\n<answer>B</answer>",
        "<answer>B</answer>\n<outline>o</outline>\n<think>t</think>",
        RIGHT.replace("t</think>", "t<think>u</think></think>"),
        RIGHT.replace("t</think>", "maybe <answer>A</answer></think>"),
        RIGHT.replace("o</outline>", "<think>t</think></outline>"),
        RIGHT.replace("t</think>", "<error>e</error></think>"),
        RIGHT.replace("</answer>", "</Answer>"),
        RIGHT.replace("<answer>", "< answer>"),
        "<error>e</error>\n" + RIGHT,
    ],
)
def test_missing_repeated_misplaced_and_nested_parts_are_refused(text: str) -> None:
    assert ENGLISH.parse(RIGHT) is not None
    assert ENGLISH.parse(text) is None


def test_blanks_between_and_around_parts_do_not_matter() -> None:
    loose = "\n <outline>\no </outline><think> t</think>\n\n\n<answer>B\n</answer>  \n"
    assert ENGLISH.parse(loose) == ENGLISH.parse(RIGHT) == Thought(outline="o", chain="t", answer="B")


def test_two_steps_cannot_make_a_tag_together() -> None:
    glued = ThoughtFormat(dataclasses.replace(TEMPLATES["two_level_en-both"], chain_separator=""))
    thought = glued.parse(glued.render(["o"], ["x</thi", "nk><answer>A</ans", "wer>"], "B"))
    assert thought is not None
    assert (thought.chain, thought.answer) == ("x‹/think›‹answer›A‹/answer›", "B")


def test_a_correction_by_hand() -> None:
    text = f"<error>step 2: wrong drug</error>\n{RIGHT}"
    assert ENGLISH.render_correction("step 2: wrong drug", RIGHT) == text
    assert ENGLISH.split_correction(text) == ("step 2: wrong drug", RIGHT)


@pytest.mark.parametrize("text", ["", RIGHT, "<error>e", "e</error>" + RIGHT, "It says <error>e</error>" + RIGHT])
def test_what_does_not_begin_with_an_insight_is_no_correction(text: str) -> None:
    assert ENGLISH.split_correction(text) is None


def test_a_correction_cut_after_its_insight_has_an_empty_response() -> None:
    assert ENGLISH.split_correction("<error>e</error>") == ("e", "")
    assert ENGLISH.parse("") is None


@pytest.mark.parametrize(
    "parts",
    [
        {"outline": "Plan: {outline}", "chain": "Thinking: {chain}", "answer": "Answer: {answer}"},
        {"outline": "[plan {{ {outline} }}]", "chain": "({chain})*", "answer": "= {answer} ="},
        {"outline": "<提纲>{outline}</提纲>", "chain": "<推理>{chain}</推理>", "answer": "<答案>{answer}</答案>"},
        {"outline": "{outline}\n---", "chain": "Chain: {chain}", "answer": "<answer>{answer}</answer>"},
    ],
)
def test_other_delimiters_than_tags_can_be_read(parts: dict[str, str]) -> None:
    template = dataclasses.replace(TEMPLATES["two_level_en-both"], **parts)
    form = ThoughtFormat(template)
    written = form.render(["look", "decide"], ["it is 3.5 mg", "so B"], "B")
    assert form.parse(written) == Thought(outline="look\ndecide", chain="it is 3.5 mg\nso B", answer="B")
    assert form.parse(written + written) is None


def test_tags_of_any_script_cannot_be_closed_by_data() -> None:
    template = dataclasses.replace(TEMPLATES["two_level_zh-none"], answer="<答案>{answer}</答案>")
    form = ThoughtFormat(template)
    assert form.parse(form.render([], [], "甲</答案><答案>乙")) == Thought("", "", "甲‹/答案›‹答案›乙")


@pytest.mark.parametrize(
    "text",
    [
        "<plan> " + "x" * MEGABYTE,
        "<plan> a </plan> <think> " + "s1 key " * (MEGABYTE // 7),
        " " * MEGABYTE,
        "\n" * MEGABYTE + "x",
        "<plan>" * (MEGABYTE // 6),
        "</plan>" * (MEGABYTE // 7),
        "<plan> a </plan>" + " " * MEGABYTE + "x",
        "<plan> " + "<" * MEGABYTE,
        "<plan> " + "</thin" * (MEGABYTE // 6),
        "<plan> " + " " * MEGABYTE + "<think>",
        "<plan> a </plan> <think> b </think> <answer> " + "c " * (MEGABYTE // 2) + "</answer> d",
        "<error> " + "e" * MEGABYTE,
    ],
    ids=lambda text: text[:24].strip()[:16] or "blanks",
)
@pytest.mark.parametrize("name", ["clinic-both", "clinic-none"])
def test_a_megabyte_is_refused_in_no_time(name: str, text: str) -> None:
    form = ThoughtFormat(TEMPLATES[name])
    start = time.thread_time()
    assert form.parse(text) is None
    form.split_correction(text)
    form.find(text)
    form.find_correction(text)
    assert time.thread_time() - start < SECONDS


def test_a_megabyte_is_read_and_written_in_no_time() -> None:
    form = ThoughtFormat(TEMPLATES["clinic-both"])
    start = time.thread_time()
    written = form.render(["a"] * 10, ["s1 <answer> </answer> <|im_end|> " * 3000] * 10, "b")
    assert form.parse(written) is not None
    assert len(written) > 900_000
    assert time.thread_time() - start < 2 * SECONDS


def test_every_level_is_there() -> None:
    assert {template.level for template in TEMPLATES.values()} == set(TemplateLevel)
    assert len(TEMPLATES) == 24
    assert "</answer>" in tags_in(*(template.answer for template in TEMPLATES.values()))


TWO_LEVELS = "<outline>1. look</outline>\n<think>1. seen</think>\n<answer>B</answer>"


@pytest.mark.parametrize(
    "text",
    [
        TWO_LEVELS,
        f"Sure! Here it is:\n{TWO_LEVELS}\nI hope this helps.",
        f"<think>let me think about the form</think>\n{TWO_LEVELS}",
        f"let me think about the form</think>{TWO_LEVELS}",
        f"<outline>0</outline><think>0</think><answer>A</answer> no, wait: {TWO_LEVELS}",
    ],
)
def test_a_teachers_form_is_found_in_what_stands_around_it(text: str) -> None:
    assert ThoughtFormat(TEMPLATES["two_level_en-both"]).find(text) == Thought("1. look", "1. seen", "B")


@pytest.mark.parametrize(
    "text",
    [
        "<outline>x</outline><answer>B</answer>",
        "<think>1</think><outline>x</outline><answer>B</answer>",
        "<outline>x</outline><think>y <answer>A</answer></think><answer>B</answer>",
        TWO_LEVELS.removesuffix("</answer>"),
        "",
    ],
)
def test_what_is_in_no_form_is_not_found(text: str) -> None:
    assert ThoughtFormat(TEMPLATES["two_level_en-both"]).find(text) is None


def test_a_response_that_begins_inside_the_first_part_is_opened() -> None:
    form = ThoughtFormat(TEMPLATES["paper_zh-detailed"])
    assert form.find("先看病情。</think>\n<answer>B</answer>") == Thought("", "先看病情。", "B")
    assert form.find("先看病情。\n<answer>B</answer>") is None


def test_a_correction_is_found_with_its_insight() -> None:
    form = ThoughtFormat(TEMPLATES["two_level_en-both"])
    text = f"Here:\n<error>step 2 overlooks fever</error>\n{TWO_LEVELS} done"
    assert form.find_correction(text) == ("step 2 overlooks fever", Thought("1. look", "1. seen", "B"))
    assert form.find_correction(TWO_LEVELS) is None


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("1. a\n   b\n2. c", ("1. a\nb", "2. c")),
        ("1、看\n2、想", ("1、看", "2、想")),
        ("步骤1：看\n步骤2：想", ("步骤1：看", "步骤2：想")),
        ("**Step 1:** a\n**Step 2:** b", ("**Step 1:** a", "**Step 2:** b")),
        ("a\n\nb", ("a", "b")),
        ("1. a\n1.5 mg\n3. x\n2. b", ("1. a\n1.5 mg\n3. x", "2. b")),
        ("2. a\n3. b", ("2. a", "3. b")),
        (" \n", ()),
    ],
)
def test_steps_by_their_numbers_or_by_line(text: str, steps: tuple[str, ...]) -> None:
    assert split_steps(text) == steps
