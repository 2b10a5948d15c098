"""The case behind a clinic question, and the texts that follow from it.

A wrong attempt is the same thing with one step broken, so right and wrong thoughts are written by the same functions.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from medcritical.errors import DataError
from medcritical.records import Question
from medcritical.world.knowledge import DrugStep

Kind = Literal["diagnosis", "test", "treatment"]
KINDS: tuple[Kind, ...] = ("diagnosis", "test", "treatment")

Vignette = tuple[Kind, frozenset[str], frozenset[str]]
"""What makes two vignettes the same, whatever the order of words: kind, findings, history."""

_OUTLINES: dict[Kind, tuple[str, ...]] = {
    "diagnosis": ("findings", "diagnosis", "option"),
    "test": ("findings", "diagnosis", "test", "option"),
    "treatment": ("findings", "diagnosis", "drug", "contraindication", "option"),
}


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vignette hides. It travels in `Question.meta`; only the oracle and the soundness check read it.

    `findings` are all that is shown, in the order shown; `key_findings` those the condition explains.
    """

    kind: Kind
    condition: str
    findings: tuple[str, ...]
    key_findings: tuple[str, ...]
    history: tuple[str, ...]
    drug_chain: tuple[DrugStep, ...]
    test: str

    @property
    def ignored_findings(self) -> tuple[str, ...]:
        """The findings that do not belong to the condition, in the order shown."""
        return tuple(finding for finding in self.findings if finding not in self.key_findings)

    @property
    def conclusion(self) -> str:
        """What the reasoning ends in: the condition, the test, or the drug that is given."""
        return {"diagnosis": self.condition, "test": self.test, "treatment": self.drug_chain[-1][0]}[self.kind]

    @property
    def vignette(self) -> Vignette:
        """What is shown, without order and options."""
        return (self.kind, frozenset(self.findings), frozenset(self.history))

    def to_meta(self) -> dict[str, Any]:
        """The case as plain JSON values."""
        return msgspec.json.decode(msgspec.json.encode(self), type=dict[str, Any])


def is_clinic(question: Question) -> bool:
    """True for a question with a hidden case: one that the clinic made."""
    return set(question.meta) == set(Case.__struct_fields__)


def read_case(question: Question) -> Case:
    """The hidden case of a clinic question.

    Raises:
        DataError: the question does not come from the clinic.
    """
    try:
        return msgspec.convert(question.meta, Case)
    except msgspec.ValidationError as error:
        raise DataError(
            f"question {question.id} ({question.source}) has no hidden case ({error}); "
            "the rule oracle and the soundness check work on the clinic only"
        ) from error


def write_stem(case: Case) -> str:
    """What is asked: `treatment findings a b c history d`; without history the last part is left out."""
    history = ("history", *case.history) if case.history else ()
    return " ".join((case.kind, "findings", *case.findings, *history))


def write_outline(case: Case) -> tuple[str, ...]:
    """The plan for questions of this kind, one word a step."""
    return _OUTLINES[case.kind]


def write_chain(case: Case, option: str) -> tuple[str, ...]:
    """The steps from the findings to the option; a question for the diagnosis has no s3."""
    findings = " ".join(("s1 key", *case.key_findings, "ignore", *case.ignored_findings))
    drugs = " ".join(f"{drug} avoid {flag}" if flag else f"{drug} ok" for drug, flag in case.drug_chain)
    third = {"diagnosis": (), "test": (f"s3 test {case.test}",), "treatment": (f"s3 drug {drugs}",)}[case.kind]
    return (findings, f"s2 diagnosis {case.condition}", *third, f"s4 option {option}")
