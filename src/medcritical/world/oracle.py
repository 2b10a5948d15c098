"""The rule oracle: the clinic's teacher and the judge of its reasoning. It knows the case behind every question."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from medcritical.records import Question, Record, ThoughtTemplate
from medcritical.world.case import Case, Kind, read_case, write_chain, write_outline
from medcritical.world.knowledge import DrugStep, KnowledgeBase, load_knowledge

STEPS = ("s1", "s2", "s3", "s4")
MAX_TRIES = 50  # of `corrupt`: some steps of some cases have no plausible way to go wrong
SKIPPED_CHECK = 0.7  # share of overlooked contraindications among broken drug steps, where there is one to overlook
FALSE_CHECK = 0.6  # share of invented contraindications among the rest, where the history has an entry to blame

# Choosing and checking a drug are two ways to go wrong in one step, hence its double weight.
_BREAKABLE: dict[Kind, tuple[str, ...]] = {
    "diagnosis": ("s1", "s2", "s4"),
    "test": ("s1", "s2", "s3", "s4"),
    "treatment": ("s1", "s2", "s3", "s3", "s4"),
}


class WrongThought(Record, frozen=True):
    """A synthetic wrong attempt and the insight into it: `s3 because amoxicillin avoid penicillin-allergy`."""

    outline: tuple[str, ...]
    chain: tuple[str, ...]
    answer: str
    insight: str


def write_template(question: Question) -> ThoughtTemplate:
    """The right thought for a clinic question; its answer is the option's text.

    Tokens are words: `completion_tokens` counts outline, chain and answer; the rules read no prompt, so that is 0.

    Raises:
        DataError: the question does not come from the clinic.
    """
    case = read_case(question)
    outline, chain, answer = write_outline(case), write_chain(case, case.conclusion), case.conclusion
    return ThoughtTemplate(
        question=question,
        outline=outline,
        chain=chain,
        answer=answer,
        letters=question.answer,
        completion_tokens=len(" ".join((*outline, *chain, answer)).split()),
    )


def is_sound(question: Question, chain: str) -> bool:
    """True when the chain (its steps joined by spaces) has the right diagnosis and the right test or drug step.

    The option is not looked at, nor which findings were taken as key: a sound attempt is this AND a right answer.
    A drug that two entries of the history forbid must be avoided for the first of them, as the oracle does.

    Raises:
        DataError: the question does not come from the clinic.
    """
    case = read_case(question)
    right, tried = _split_steps(" ".join(write_chain(case, case.conclusion))), _split_steps(chain)
    return all(tried.get(step) == right.get(step) for step in ("s2", "s3"))


def locate(question: Question, chain: str, answer: str) -> str | None:
    """Insight into a wrong attempt: the first step at fault and what would have been right there.

    `chain` is the attempt's steps joined by spaces, `answer` the text or letter it chose. Findings are blamed only
    where they led to a wrong diagnosis. None when the chain does not have the steps the question needs, once each
    and in order, or when nothing is at fault.

    Raises:
        DataError: the question does not come from the clinic.
    """
    case = read_case(question)
    right, tried = _split_steps(" ".join(write_chain(case, case.conclusion))), _split_steps(chain)
    if not right.keys() <= tried.keys() or tried["s1"][:1] != ["key"] or tried["s1"].count("ignore") != 1:
        return None
    if tried["s2"] != right["s2"]:
        return _blame_diagnosis(case, tried["s1"])
    if case.kind == "test" and tried["s3"] != right["s3"]:
        return f"s3 because test {case.test}"
    if case.kind == "treatment" and tried["s3"] != right["s3"]:
        return _blame_drugs(case.drug_chain, tried["s3"][1:])
    if tried["s4"] != right["s4"] or answer not in (question.answer, case.conclusion):
        return f"s4 because option {case.conclusion}"
    return None


def _split_steps(chain: str) -> dict[str, list[str]]:
    """Words of each step, without its name; empty when a step is repeated or out of order, or words precede all."""
    words = chain.split()
    starts = [position for position, word in enumerate(words) if word in STEPS]
    names = [words[start] for start in starts]
    if starts[:1] != [0] or names != sorted(set(names)):
        return {}
    ends = [*starts[1:], len(words)]
    return {name: words[start + 1 : end] for name, start, end in zip(names, starts, ends, strict=True)}


def _blame_diagnosis(case: Case, first_step: Sequence[str]) -> str:
    """A wrong diagnosis comes from the first misjudged finding, or from itself when all findings were judged right."""
    key = first_step[1 : first_step.index("ignore")]
    for finding in case.findings:
        if (finding in key) != (finding in case.key_findings):
            return f"s1 because finding {finding}"
    return f"s2 because diagnosis {case.condition}"


def _blame_drugs(right: Sequence[DrugStep], tried: Sequence[str]) -> str:
    """The first drug that was not considered, or not judged as it should have been."""
    position = 0
    for drug, flag in right:
        verdict = [drug, "avoid", flag] if flag else [drug, "ok"]
        if list(tried[position : position + len(verdict)]) != verdict:
            is_considered = list(tried[position : position + 1]) == [drug]
            return f"s3 because {' '.join(verdict)}" if is_considered else f"s3 because drug {drug}"
        position += len(verdict)
    return f"s3 because drug {right[-1][0]}"


def corrupt(question: Question, rng: random.Random) -> WrongThought | None:
    """A plausible wrong attempt: one step goes wrong and the later ones follow from it. None when no way was found.

    A conclusion that is not among the options ends in a wrong option at random, as a guessing student would.

    Raises:
        DataError: the question does not come from the clinic.
    """
    case = read_case(question)
    wrong_options = [text for text in question.options.values() if text != case.conclusion]
    for _ in range(MAX_TRIES):
        step = rng.choice(_BREAKABLE[case.kind])
        broken = _break_step(step, case, load_knowledge(), rng)
        if broken is None or (step != "s4" and broken.conclusion == case.conclusion):
            continue
        answer = broken.conclusion if broken.conclusion in wrong_options else rng.choice(wrong_options)
        chain = write_chain(broken, answer)
        insight = locate(question, " ".join(chain), answer)
        if insight is not None:
            return WrongThought(outline=write_outline(case), chain=chain, answer=answer, insight=insight)
    return None


def _break_step(step: str, case: Case, knowledge: KnowledgeBase, rng: random.Random) -> Case | None:
    """The case as a student sees it after one wrong step; None when this step has no plausible way to go wrong."""
    if step == "s1":
        return _take_noise_as_key(case, knowledge, rng)
    if step == "s2":
        return _misdiagnose(case, case.key_findings, knowledge, rng)
    if step == "s3" and case.kind == "test":
        test = rng.choice([test for test in knowledge.tests if test != case.test])
        return msgspec.structs.replace(case, test=test)
    if step == "s3":
        return msgspec.structs.replace(case, drug_chain=_break_drugs(case, knowledge, rng))
    return case  # s4: all right up to the choice of the option


def _take_noise_as_key(case: Case, knowledge: KnowledgeBase, rng: random.Random) -> Case | None:
    """A finding that does not belong is taken as key instead of one that does, and leads to what it is typical of."""
    if not case.ignored_findings:
        return None
    taken, dropped = rng.choice(case.ignored_findings), rng.choice(case.key_findings)
    key = {taken, *case.key_findings} - {dropped}
    misled = msgspec.structs.replace(case, key_findings=tuple(f for f in case.findings if f in key))
    return _misdiagnose(misled, (taken,), knowledge, rng)


def _misdiagnose(case: Case, evidence: Sequence[str], knowledge: KnowledgeBase, rng: random.Random) -> Case | None:
    """Another condition that explains some of the evidence, with its own test and drugs."""
    candidates = [
        name
        for name, condition in knowledge.conditions.items()
        if name != case.condition and not set(evidence).isdisjoint(condition.findings)
    ]
    if not candidates:
        return None
    name = rng.choice(candidates)
    drugs, test = knowledge.drug_chain(name, case.history), knowledge.conditions[name].test
    return msgspec.structs.replace(case, condition=name, drug_chain=drugs, test=test)


def _break_drugs(case: Case, knowledge: KnowledgeBase, rng: random.Random) -> tuple[DrugStep, ...]:
    """A contraindication overlooked, one invented, or a drug for something else."""
    drugs, given = knowledge.conditions[case.condition].drugs, len(case.drug_chain) - 1
    if given > 0 and rng.random() < SKIPPED_CHECK:
        overlooked = rng.randrange(given)
        return (*case.drug_chain[:overlooked], (drugs[overlooked], None))
    if given < len(drugs) - 1 and case.history and rng.random() < FALSE_CHECK:
        invented = (drugs[given], rng.choice(case.history))
        return (*case.drug_chain[:given], invented, (drugs[given + 1], None))
    return ((rng.choice([drug for drug in knowledge.drugs if drug not in drugs]), None),)
