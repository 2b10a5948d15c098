"""Vignettes: prefixes, disjoint splits, one right option, difficulty as configured."""

import dataclasses
from collections import Counter
from itertools import islice

import msgspec
import pytest

from medcritical.config.schema import SplitSizes, WorldConfig
from medcritical.errors import ConfigError, DataError
from medcritical.records import Question
from medcritical.world import (
    KnowledgeBase,
    generate_questions,
    load_knowledge,
    read_case,
    stream_questions,
    vocabulary,
)
from medcritical.world.case import write_stem


def by_split(questions: list[Question], split: str) -> list[Question]:
    return [question for question in questions if question.split == split]


def test_sizes_ids_and_sources(questions: list[Question]) -> None:
    assert Counter(question.split for question in questions) == {"train": 500, "dev": 100, "test": 400}
    assert by_split(questions, "test")[12].id == "clinic-3-test-000012"
    assert len({question.id for question in questions}) == 1000
    assert {(question.source, question.language) for question in questions} == {("clinic", "en")}


def test_more_questions_keep_the_first_ones(world: WorldConfig, questions: list[Question]) -> None:
    other = generate_questions(world, SplitSizes(train=700, dev=5, test=30), seed=3)
    for split, shared in (("train", 500), ("dev", 5), ("test", 30)):
        assert by_split(other, split)[:shared] == by_split(questions, split)[:shared]


def test_another_seed_gives_other_questions(world: WorldConfig, questions: list[Question]) -> None:
    other = generate_questions(world, SplitSizes(train=500, dev=0, test=1), seed=4)
    shared = {question.stem for question in other} & {question.stem for question in questions}
    assert len(shared) < 5


def test_no_findings_are_shared_by_splits_and_no_vignette_is_asked_twice(questions: list[Question]) -> None:
    splits = [{read_case(q).vignette[1] for q in by_split(questions, split)} for split in ("train", "dev", "test")]
    assert all(splits)
    assert len(set.union(*splits)) == sum(map(len, splits))
    assert len({read_case(question).vignette for question in questions}) == len(questions)
    assert len({(question.stem, *sorted(question.options.values())) for question in questions}) == len(questions)


def test_splits_stay_disjoint_over_seeds(world: WorldConfig, questions: list[Question]) -> None:
    other = generate_questions(world, SplitSizes(train=500, dev=0, test=1), seed=4)
    trained = {frozenset(read_case(question).findings) for question in by_split(other, "train")}
    assert trained.isdisjoint(frozenset(read_case(question).findings) for question in by_split(questions, "test"))


def test_texts_hold_vocabulary_words_only(questions: list[Question]) -> None:
    words = set(vocabulary(load_knowledge()))
    for question in questions:
        assert question.stem == " ".join(question.stem.split())
        assert words.issuperset(question.stem.split())
        assert words.issuperset((*question.options, *question.options.values()))


def test_one_option_is_right_and_options_differ(world: WorldConfig, questions: list[Question]) -> None:
    for question in questions:
        case = read_case(question)
        assert list(question.options) == list("ABCDEFGH"[: world.options])
        assert len(set(question.options.values())) == world.options
        assert question.options[question.answer] == case.conclusion
    assert set("".join(question.answer for question in questions)) == set("ABCDEFGH"[: world.options])


def test_hidden_case_follows_from_the_knowledge(world: WorldConfig, questions: list[Question]) -> None:
    knowledge = load_knowledge()
    for question in questions:
        case = read_case(question)
        condition = knowledge.conditions[case.condition]
        posterior = knowledge.posterior(case.findings)
        assert posterior[case.condition] >= world.posterior_min
        assert sorted(posterior.values())[-2] < posterior[case.condition]
        assert set(case.key_findings) <= set(condition.findings)
        assert set(condition.findings).isdisjoint(case.ignored_findings)
        assert 2 <= len(case.key_findings) <= 4
        assert world.noise_min <= len(case.ignored_findings) <= world.noise_max
        assert case.test == condition.test
        *avoided, (given, verdict) = case.drug_chain
        assert verdict is None
        assert not any(given in knowledge.contraindications[flag] for flag in case.history)
        assert all(drug in knowledge.contraindications[flag] and flag in case.history for drug, flag in avoided)
        assert tuple(drug for drug, _ in case.drug_chain) == condition.drugs[: len(case.drug_chain)]


def test_kinds_come_in_the_configured_shares(world: WorldConfig, questions: list[Question]) -> None:
    kinds = Counter(read_case(question).kind for question in questions)
    for kind in ("diagnosis", "test", "treatment"):
        assert kinds[kind] / len(questions) == pytest.approx(getattr(world, kind), abs=0.05)  # 3 standard errors: .047


def test_first_choice_is_often_forbidden_and_then_offered(questions: list[Question]) -> None:
    treatments = [(question, read_case(question)) for question in questions if read_case(question).kind == "treatment"]
    forbidden = [(question, case) for question, case in treatments if len(case.drug_chain) > 1]
    assert len(forbidden) > len(treatments) / 3
    assert all(case.drug_chain[0][0] in question.options.values() for question, case in forbidden)


def test_meta_is_plain_json_and_the_stem_is_written_from_it(questions: list[Question]) -> None:
    for question in questions[:50]:
        again = msgspec.json.decode(msgspec.json.encode(question), type=Question)
        assert again == question
        assert read_case(again) == read_case(question)
        assert write_stem(read_case(question)) == question.stem


def test_stem_of_a_case_made_by_hand(ulcer: Question, stone_test: Question) -> None:
    assert ulcer.stem == "treatment findings relief-food night-cough sudden-onset melena history penicillin-allergy"
    assert stone_test.stem == "test findings aura colicky-pain hematuria"


def test_foreign_question_has_no_case() -> None:
    foreign = Question(
        id="q1", stem="?", options={"A": "x", "B": "y"}, answer="A", language="en", split="test", source="medqa"
    )
    with pytest.raises(DataError, match=r"q1 \(medqa\) has no hidden case"):
        read_case(foreign)


def test_small_ward_asks_what_the_rules_allow(ward: KnowledgeBase, easy: WorldConfig) -> None:
    small = dataclasses.replace(easy, diagnosis=0.0, test=0.0, treatment=1.0, hallmark_shown=0.9)
    questions = list(islice(stream_questions(ward, small, "train", 0), 10))
    for question in questions:
        words = question.stem.split()
        is_angina = read_case(question).condition == "angina"
        first = ["nitrate", "blocker", "ivabradine"] if is_angina else ["omeprazole", "antacid", "alginate"]
        forbidden = {"low-pressure": {"nitrate"}, "asthmatic": {"blocker"}, "old": {"nitrate", "ivabradine"}}
        banned = {drug for flag, drugs in forbidden.items() if flag in words for drug in drugs}
        assert question.options[question.answer] == next(drug for drug in first if drug not in banned)


def test_exhausted_world_says_so(ward: KnowledgeBase, easy: WorldConfig) -> None:
    bare = dataclasses.replace(easy, options=2, noise_min=0, noise_max=0)
    with pytest.raises(ConfigError, match=r"gave \d+ train questions and then none"):
        list(stream_questions(ward, bare, "train", 0))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"noise_min": 3}, "noise_min 3 is above noise_max 2"),
        ({"diagnosis": 0.0, "test": 0.0, "treatment": 0.0}, "all 0"),
        ({"options": 8, "treatment": 0.0}, "only 2 different ones exist"),
    ],
)
def test_impossible_world_is_refused(
    ward: KnowledgeBase, easy: WorldConfig, change: dict[str, float], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        next(stream_questions(ward, dataclasses.replace(easy, **({"treatment": 1.0} | change)), "train", 0))


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_size_of_an_endless_split_must_be_given(easy: WorldConfig, split: str) -> None:
    sizes = SplitSizes(**({"train": 1, "dev": 1, "test": 1} | {split: None}))
    with pytest.raises(ConfigError, match=f"data.sizes.{split} is null"):
        generate_questions(easy, sizes, seed=0)
