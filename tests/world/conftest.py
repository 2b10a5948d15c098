"""Two worlds as they are configured, their questions, and one question made by hand."""

import pytest

from medcritical.config.schema import SplitSizes, WorldConfig
from medcritical.records import Question
from medcritical.world import Case, KnowledgeBase, generate_questions, parse_knowledge
from medcritical.world.case import write_stem

EASY = WorldConfig(
    name="easy",
    diagnosis=0.3,
    test=0.2,
    treatment=0.5,
    options=4,
    hallmark_shown=0.6,
    noise_min=1,
    noise_max=2,
    posterior_min=0.7,
)
HARD = WorldConfig(
    name="hard",
    diagnosis=0.0,
    test=0.0,
    treatment=1.0,
    options=8,
    hallmark_shown=0.25,
    noise_min=3,
    noise_max=4,
    posterior_min=0.4,
)

WARD = """
typicality: {hallmark: 0.9, common: 0.65, occasional: 0.3, unexplained: 0.03}
conditions:
  angina:
    {system: heart, hallmark: [tightness], common: [sweat], occasional: [nausea], test: ecg,
     drugs: [nitrate, blocker, ivabradine]}
  reflux:
    {system: gut, hallmark: [heartburn], common: [nausea], occasional: [hoarseness], test: endoscopy,
     drugs: [omeprazole, antacid, alginate]}
contraindications: {low-pressure: [nitrate], asthmatic: [blocker], old: [nitrate, ivabradine]}
"""


@pytest.fixture(scope="session", params=[EASY, HARD], ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> WorldConfig:
    return request.param


@pytest.fixture(scope="session")
def easy() -> WorldConfig:
    return EASY


@pytest.fixture(scope="session")
def questions(world: WorldConfig) -> list[Question]:
    return generate_questions(world, SplitSizes(train=500, dev=100, test=400), seed=3)


@pytest.fixture(scope="session")
def ward_text() -> str:
    """A knowledge base of two conditions, small enough to work out by hand."""
    return WARD


@pytest.fixture(scope="session")
def ward() -> KnowledgeBase:
    return parse_knowledge(WARD, "ward.yaml")


def ask(case: Case, options: str, answer: str) -> Question:
    """A question for a case made by hand."""
    return Question(
        id="by-hand",
        stem=write_stem(case),
        options=dict(zip("ABCDEFGH", options.split(), strict=False)),
        answer=answer,
        language="en",
        split="train",
        source="clinic-hand",
        meta=case.to_meta(),
    )


@pytest.fixture(scope="session")
def ulcer() -> Question:
    """An ulcer whose first drug, amoxicillin, the history forbids: omeprazole is right."""
    case = Case(
        kind="treatment",
        condition="ulcer",
        findings=("relief-food", "night-cough", "sudden-onset", "melena"),
        key_findings=("relief-food", "melena"),
        history=("penicillin-allergy",),
        drug_chain=(("amoxicillin", "penicillin-allergy"), ("omeprazole", None)),
        test="endoscopy",
    )
    return ask(case, "omeprazole amoxicillin sucralfate salbutamol", "A")


@pytest.fixture(scope="session")
def stone_test() -> Question:
    """A kidney stone that is looked for by ct-abdomen."""
    case = Case(
        kind="test",
        condition="kidney-stone",
        findings=("aura", "colicky-pain", "hematuria"),
        key_findings=("colicky-pain", "hematuria"),
        history=(),
        drug_chain=(("ketorolac", None),),
        test="ct-abdomen",
    )
    return ask(case, "eeg ct-abdomen urine-dipstick", "B")


@pytest.fixture(scope="session")
def asthma_diagnosis() -> Question:
    """Asthma to be told from pneumonia."""
    case = Case(
        kind="diagnosis",
        condition="asthma",
        findings=("wheeze", "fever", "dyspnea"),
        key_findings=("wheeze", "dyspnea"),
        history=(),
        drug_chain=(("salbutamol", None),),
        test="spirometry",
    )
    return ask(case, "pneumonia asthma", "B")
