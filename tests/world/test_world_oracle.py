"""The rule oracle: right thoughts, located faults, broken thoughts."""

import random
from collections import Counter

import pytest

from medcritical.errors import DataError
from medcritical.records import Question
from medcritical.world import (
    WrongThought,
    corrupt,
    is_sound,
    load_knowledge,
    locate,
    read_case,
    vocabulary,
    write_template,
)

KEY = "s1 key relief-food melena ignore night-cough sudden-onset"
DIAGNOSIS = "s2 diagnosis ulcer"
DRUG = "s3 drug amoxicillin avoid penicillin-allergy omeprazole ok"
OPTION = "s4 option omeprazole"


def test_treatment_template_made_by_hand(ulcer: Question) -> None:
    template = write_template(ulcer)
    assert template.outline == ("findings", "diagnosis", "drug", "contraindication", "option")
    assert template.chain == (KEY, DIAGNOSIS, DRUG, OPTION)
    assert (template.answer, template.letters) == ("omeprazole", "A")
    assert template.is_kept
    assert (template.prompt_tokens, template.completion_tokens) == (0, 5 + 7 + 3 + 7 + 3 + 1)


def test_test_and_diagnosis_templates_made_by_hand(stone_test: Question, asthma_diagnosis: Question) -> None:
    assert write_template(stone_test).outline == ("findings", "diagnosis", "test", "option")
    assert write_template(stone_test).chain == (
        "s1 key colicky-pain hematuria ignore aura",
        "s2 diagnosis kidney-stone",
        "s3 test ct-abdomen",
        "s4 option ct-abdomen",
    )
    assert write_template(asthma_diagnosis).outline == ("findings", "diagnosis", "option")
    assert write_template(asthma_diagnosis).chain == (
        "s1 key wheeze dyspnea ignore fever",
        "s2 diagnosis asthma",
        "s4 option asthma",
    )


@pytest.mark.parametrize(
    ("chain", "answer", "insight"),
    [
        # noise taken as key, and blamed because the diagnosis is wrong
        (
            f"s1 key relief-food melena night-cough ignore sudden-onset s2 diagnosis asthma {DRUG} {OPTION}",
            "salbutamol",
            "s1 because finding night-cough",
        ),
        # a key finding left out
        (
            f"s1 key melena ignore relief-food s2 diagnosis colitis {DRUG} {OPTION}",
            "A",
            "s1 because finding relief-food",
        ),
        # all findings judged right, whatever their order
        (
            f"s1 key melena relief-food ignore night-cough s2 diagnosis colitis {DRUG} {OPTION}",
            "sucralfate",
            "s2 because diagnosis ulcer",
        ),
        # findings are not blamed where the diagnosis came out right
        (f"s1 key melena ignore relief-food {DIAGNOSIS} {DRUG} s4 option sucralfate", "sucralfate", "s4"),
        (f"{KEY} {DIAGNOSIS} s3 drug amoxicillin ok {OPTION}", "B", "s3 because amoxicillin avoid penicillin-allergy"),
        (f"{KEY} {DIAGNOSIS} s3 drug omeprazole ok {OPTION}", "B", "s3 because drug amoxicillin"),
        (f"{KEY} {DIAGNOSIS} s3 drug {OPTION}", "B", "s3 because drug amoxicillin"),
        (
            f"{KEY} {DIAGNOSIS} s3 drug amoxicillin avoid penicillin-allergy omeprazole avoid penicillin-allergy "
            "sucralfate ok s4 option sucralfate",
            "sucralfate",
            "s3 because omeprazole ok",
        ),
        (f"{KEY} {DIAGNOSIS} {DRUG} sucralfate ok {OPTION}", "sucralfate", "s3 because drug omeprazole"),
        (f"{KEY} {DIAGNOSIS} {DRUG} s4 option salbutamol", "salbutamol", "s4 because option omeprazole"),
        # a sound chain, and yet another answer
        (f"{KEY} {DIAGNOSIS} {DRUG} {OPTION}", "salbutamol", "s4 because option omeprazole"),
        (f"{KEY} {DIAGNOSIS} {DRUG} {OPTION}", "D", "s4 because option omeprazole"),
    ],
)
def test_first_fault_is_located(ulcer: Question, chain: str, answer: str, insight: str) -> None:
    found = locate(ulcer, chain, answer)
    assert found is not None
    assert found == insight if " " in insight else found.startswith(insight)


@pytest.mark.parametrize("answer", ["omeprazole", "A"])
def test_nothing_is_located_in_a_right_attempt(ulcer: Question, answer: str) -> None:
    assert locate(ulcer, f"{KEY} {DIAGNOSIS} {DRUG} {OPTION}", answer) is None


@pytest.mark.parametrize(
    "chain",
    [
        "",
        "because because",
        f"{KEY} {DIAGNOSIS} {OPTION}",
        f"{KEY} {DRUG} {OPTION}",
        f"{KEY} {DIAGNOSIS} {DRUG}",
        f"{DIAGNOSIS} {KEY} {DRUG} {OPTION}",
        f"{KEY} {DIAGNOSIS} {DIAGNOSIS} {DRUG} {OPTION}",
        f"key {KEY} {DIAGNOSIS} {DRUG} {OPTION}",
        f"s1 melena ignore {DIAGNOSIS} {DRUG} {OPTION}",
        f"s1 key melena {DIAGNOSIS} {DRUG} {OPTION}",
    ],
)
def test_unreadable_chain_is_not_located(ulcer: Question, chain: str) -> None:
    assert locate(ulcer, chain, "salbutamol") is None


def test_wrong_test_is_located(stone_test: Question) -> None:
    chain = "s1 key colicky-pain hematuria ignore aura s2 diagnosis kidney-stone s3 test eeg s4 option eeg"
    assert locate(stone_test, chain, "eeg") == "s3 because test ct-abdomen"


def test_soundness_by_hand(ulcer: Question, asthma_diagnosis: Question) -> None:
    assert is_sound(ulcer, f"{KEY} {DIAGNOSIS} {DRUG} {OPTION}")
    assert is_sound(ulcer, f"{KEY} {DIAGNOSIS} {DRUG} s4 option salbutamol")
    assert is_sound(ulcer, f"s1 key melena ignore {DIAGNOSIS} {DRUG} {OPTION}")
    assert not is_sound(ulcer, f"{KEY} s2 diagnosis colitis {DRUG} {OPTION}")
    assert not is_sound(ulcer, f"{KEY} {DIAGNOSIS} s3 drug omeprazole ok {OPTION}")
    assert not is_sound(ulcer, f"{KEY} {DIAGNOSIS} {OPTION}")
    assert not is_sound(ulcer, "")
    assert is_sound(asthma_diagnosis, "s1 key wheeze ignore fever s2 diagnosis asthma s4 option asthma")


def test_templates_are_sound_right_and_within_vocabulary(questions: list[Question]) -> None:
    words = set(vocabulary(load_knowledge()))
    for question in questions:
        template = write_template(question)
        chain = " ".join(template.chain)
        assert is_sound(question, chain)
        assert locate(question, chain, template.answer) is None
        assert (template.answer,) == question.answer_texts
        for text in (*template.outline, *template.chain, template.answer):
            assert text == " ".join(text.split())
            assert words.issuperset(text.split())


@pytest.fixture(scope="module")
def broken(questions: list[Question]) -> list[tuple[Question, WrongThought]]:
    rng = random.Random(11)
    pairs = [(question, corrupt(question, rng)) for question in questions]
    thoughts = [(question, thought) for question, thought in pairs if thought is not None]
    assert len(thoughts) > 0.99 * len(questions)
    return thoughts


def test_broken_thought_ends_in_a_wrong_option(broken: list[tuple[Question, WrongThought]]) -> None:
    words = set(vocabulary(load_knowledge()))
    for question, thought in broken:
        assert thought.answer in question.options.values()
        assert thought.answer not in question.answer_texts
        assert thought.chain[-1] == f"s4 option {thought.answer}"
        assert thought.outline == write_template(question).outline
        assert words.issuperset(" ".join((*thought.chain, thought.insight)).split())


def test_broken_thought_is_unsound_unless_only_the_option_is_wrong(broken: list[tuple[Question, WrongThought]]) -> None:
    for question, thought in broken:
        chain = " ".join(thought.chain)
        assert is_sound(question, chain) == thought.insight.startswith("s4")
        assert locate(question, chain, thought.answer) == thought.insight


def test_steps_before_the_fault_are_right(broken: list[tuple[Question, WrongThought]]) -> None:
    for question, thought in broken:
        right = {step.split()[0]: step for step in write_template(question).chain}
        tried = {step.split()[0]: step for step in thought.chain}
        fault = thought.insight.split()[0]
        assert tried[fault] != right[fault]
        assert all(tried[step] == right[step] for step in right if step < fault)


def test_later_steps_follow_from_the_broken_one(broken: list[tuple[Question, WrongThought]]) -> None:
    knowledge = load_knowledge()
    for question, thought in broken:
        if thought.insight[:2] not in ("s1", "s2"):
            continue
        case = read_case(question)
        diagnosis = next(step for step in thought.chain if step.startswith("s2")).split()[-1]
        third = next((step for step in thought.chain if step.startswith("s3")), "")
        if case.kind == "test":
            assert third == f"s3 test {knowledge.conditions[diagnosis].test}"
        if case.kind == "treatment":
            drugs = knowledge.drug_chain(diagnosis, case.history)
            assert third.split()[2:] == [
                word for drug, flag in drugs for word in ([drug, "avoid", flag] if flag else [drug, "ok"])
            ]


def test_wrong_conclusion_is_chosen_where_it_is_an_option(broken: list[tuple[Question, WrongThought]]) -> None:
    for question, thought in broken:
        if thought.insight.startswith("s4"):
            continue
        step = thought.chain[-2].split()  # "... drug ok", "test X" or "diagnosis X"
        conclusion = step[-2] if step[-1] == "ok" else step[-1]
        assert conclusion not in question.answer_texts
        assert thought.answer == conclusion or conclusion not in question.options.values()


def test_every_step_is_broken_at_times(broken: list[tuple[Question, WrongThought]]) -> None:
    faults = Counter(thought.insight.split()[0] for _, thought in broken)
    assert set(faults) == {"s1", "s2", "s3", "s4"}
    assert min(faults.values()) > 0.1 * len(broken)


def test_same_random_state_breaks_alike(questions: list[Question]) -> None:
    assert [corrupt(q, random.Random(5)) for q in questions[:20]] == [
        corrupt(q, random.Random(5)) for q in questions[:20]
    ]


def test_foreign_question_cannot_be_judged() -> None:
    foreign = Question(
        id="q1", stem="?", options={"A": "x", "B": "y"}, answer="A", language="en", split="test", source="medqa"
    )
    with pytest.raises(DataError, match="work on the clinic only"):
        write_template(foreign)
