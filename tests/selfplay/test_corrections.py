"""Reading corrections, whole and from a step on; and cutting chains at their steps."""

import pytest

from configurations import configure
from medcritical.records import Completion
from medcritical.selfplay.corrections import CorrectionReader
from medcritical.text.steps import first_step, located_step, steps_before

CLINIC = configure().template
TEXT = configure("template=two_level_en", "student=smollm2_135m", "sft=pretrained", "dpo=pretrained").template
CHAIN = "s1 key cough ignore rash s2 diagnosis ulcer s3 drug aspirin ok s4 option aspirin"
WRONG = f"<plan> findings > option </plan> <think> {CHAIN} </think> <answer> aspirin </answer>"


def said(text: str, *, is_finished: bool = True) -> Completion:
    return Completion(text=text, prompt_tokens=3, completion_tokens=7, is_finished=is_finished)


def test_a_chain_is_cut_at_its_steps() -> None:
    assert [steps_before(CLINIC, CHAIN, number) for number in (1, 2, 3)] == [
        "",
        "s1 key cough ignore rash",
        "s1 key cough ignore rash s2 diagnosis ulcer",
    ]
    assert steps_before(CLINIC, "s1 key cough", 2) == "s1 key cough"  # it ended too early
    assert [steps_before(CLINIC, chain, 3) for chain in ("s2 diagnosis ulcer", "s1 key cough", "", "none")] == [
        None
    ] * 4
    assert first_step(CLINIC, " s3 drug aspirin") == 3
    assert first_step(CLINIC, "drug s3") is first_step(CLINIC, "s31x") is None


def test_numbered_lines_are_steps_and_numbers_in_a_line_are_not() -> None:
    chain = "1. Fever for 3. days\n2. Give 4. tablets\n  3. Choose B"
    assert steps_before(TEXT, chain, 3) == "1. Fever for 3. days\n2. Give 4. tablets"
    assert first_step(TEXT, "2. Give") == 2
    assert first_step(TEXT, "2 Give") is None


@pytest.mark.parametrize(
    ("insight", "number"),
    [
        ("s3 because drug x", 3),
        ("Step 2 is wrong, not 4", 2),
        ("第2步错了", 2),
        ("s5 is none", None),
        ("all of it", None),
    ],
)
def test_the_blamed_step(insight: str, number: int | None) -> None:
    assert located_step(insight, 4) == number


def test_a_correction_from_a_step_keeps_what_was_right_before_it() -> None:
    tail = "<error> s3 because drug b </error> <think> s3 drug b ok s4 option b </think> <answer> b </answer>"
    read = CorrectionReader(CLINIC).read_from_step(WRONG, said(tail))
    assert (read.insight, read.from_step) == ("s3 because drug b", 3)
    assert read.response == said(
        "<plan> findings > option </plan> <think> s1 key cough ignore rash s2 diagnosis ulcer s3 drug b ok s4 option b "
        "</think> <answer> b </answer>"
    )
    shared = WRONG[: WRONG.index("s3")]
    assert read.response.text.startswith(shared)


def test_a_correction_from_the_first_step_keeps_the_outline_alone() -> None:
    tail = (
        "<error> s1 because finding rash </error> <think> s1 key rash ignore cough s2 x </think> <answer> b </answer>"
    )
    read = CorrectionReader(CLINIC).read_from_step(WRONG, said(tail))
    assert read.from_step == 1
    assert read.response.text.startswith(
        "<plan> findings > option </plan> <think> s1 key rash ignore cough s2 x </think>"
    )


@pytest.mark.parametrize(
    "text",
    [
        "<think> s3 drug b </think> <answer> b </answer>",  # no insight
        "<error> e </error> <think> drug b </think> <answer> b </answer>",  # no step
        "<error> e </error> <think> s7 drug b </think> <answer> b </answer>",  # a step far behind the attempt's last
        "<error> e </error> <plan> p </plan> <think> s3 drug b </think> <answer> b </answer>",  # the whole form
        "<error> e </error> <think> s3 drug b",
    ],
)
def test_what_has_not_the_form_is_malformed(text: str) -> None:
    read = CorrectionReader(CLINIC).read_from_step(WRONG, said(text))
    assert (read.response.is_finished, read.from_step) == (False, None)


def test_a_whole_correction_is_a_response_of_its_own() -> None:
    read = CorrectionReader(CLINIC).read(said(f"<error> e </error> {WRONG}"))
    assert (read.insight, read.response, read.from_step) == ("e", said(WRONG), None)
    assert CorrectionReader(CLINIC).read(said(WRONG)).response == said(WRONG, is_finished=False)
    assert (
        not CorrectionReader(CLINIC).read(said(f"<error> e </error> {WRONG}", is_finished=False)).response.is_finished
    )
