"""The packaged knowledge base, and hand-worked numbers on one of two conditions."""

import pytest

from medcritical.errors import DataError
from medcritical.world import KnowledgeBase, load_knowledge, parse_knowledge, vocabulary


def test_packaged_knowledge_has_the_measured_size() -> None:
    knowledge = load_knowledge()
    assert len(knowledge.conditions) == 24
    assert len({condition.system for condition in knowledge.conditions.values()}) == 6
    assert (len(knowledge.findings), len(knowledge.tests), len(knowledge.drugs), len(knowledge.flags)) == (
        76,
        20,
        57,
        8,
    )
    assert all(len(condition.drugs) == 3 for condition in knowledge.conditions.values())


def test_packaged_knowledge_is_read_once() -> None:
    assert load_knowledge() is load_knowledge()


def test_posterior_of_hand_worked_evidence(ward: KnowledgeBase) -> None:
    # tightness and nausea: angina .9 x .3 = .27, reflux .03 x .65 = .0195
    assert ward.posterior(["tightness", "nausea"]) == pytest.approx(
        {"angina": 0.27 / 0.2895, "reflux": 0.0195 / 0.2895}
    )


def test_posterior_of_no_evidence_is_the_prior(ward: KnowledgeBase) -> None:
    assert ward.posterior([]) == {"angina": 0.5, "reflux": 0.5}


def test_equal_evidence_is_an_exact_tie_in_any_order(ward: KnowledgeBase) -> None:
    for findings in (["tightness", "heartburn"], ["heartburn", "tightness"]):
        assert ward.posterior(findings) == {"angina": 0.5, "reflux": 0.5}


@pytest.mark.parametrize(
    ("history", "steps"),
    [
        ([], [("nitrate", None)]),
        (["asthmatic"], [("nitrate", None)]),
        (["low-pressure"], [("nitrate", "low-pressure"), ("blocker", None)]),
        (["old", "low-pressure"], [("nitrate", "old"), ("blocker", None)]),
        (["low-pressure", "asthmatic"], [("nitrate", "low-pressure"), ("blocker", "asthmatic"), ("ivabradine", None)]),
    ],
)
def test_drug_chain_goes_on_to_the_first_allowed_drug(ward: KnowledgeBase, history: list[str], steps: list) -> None:
    assert list(ward.drug_chain("angina", history)) == steps


def test_vocabulary_is_stable_and_has_no_repeats(ward: KnowledgeBase, ward_text: str) -> None:
    words = vocabulary(ward)
    assert len(set(words)) == len(words)
    assert words == vocabulary(parse_knowledge(ward_text, "again.yaml"))
    assert {"treatment", "s3", "H", "tightness", "low-pressure", "reflux", "alginate", "ecg"} < set(words)
    assert not any("<" in word for word in words)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[blocker]", "[aspirin]", "aspirin"),
        ("[omeprazole, antacid, alginate]", "[omeprazole, antacid]", "at least 3 drugs"),
        ("[omeprazole, antacid, alginate]", "[omeprazole, antacid, antacid]", "twice"),
        ("test: endoscopy,", "", "missing required field `test`"),
        ("test: endoscopy,", "test: endoscopy, cost: 9,", "unknown field `cost`"),
        ("common: 0.65", "common: 0.95", "typicality"),
        ("[heartburn]", "[heart burn]", "not one word"),
        ("[heartburn]", "[nitrate]", "two roles"),
        ("[heartburn]", "[finding]", "two roles"),
        ("system: heart", "system: [", "ward.yaml"),
    ],
)
def test_contradictory_knowledge_is_refused_by_name(ward_text: str, old: str, new: str, complaint: str) -> None:
    assert old in ward_text
    with pytest.raises(DataError, match=complaint) as error:
        parse_knowledge(ward_text.replace(old, new), "ward.yaml")
    assert "ward.yaml" in str(error.value)
