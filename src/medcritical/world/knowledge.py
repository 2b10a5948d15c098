"""The clinic's knowledge base: conditions, findings, tests, drugs, contraindications. Fictitious, no medical advice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from importlib import resources
from itertools import chain

import msgspec

from medcritical.errors import DataError

GLUE_WORDS = (
    *("diagnosis", "test", "treatment", "findings", "history", "drug", "contraindication", "option"),
    *("key", "ignore", "avoid", "ok", "because", "finding", "s1", "s2", "s3", "s4"),
    *"ABCDEFGH",
)
"""Words of questions, thoughts and insights that are not names of the knowledge base."""

DrugStep = tuple[str, str | None]
"""A drug and the history flag that forbids it, None for the drug that is given."""


class Typicality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probability that a patient shows a finding of each class; `unexplained` for one the condition does not list."""

    hallmark: float
    common: float
    occasional: float
    unexplained: float

    def __post_init__(self) -> None:
        numbers = (self.hallmark, self.common, self.occasional, self.unexplained)
        if not 1 > self.hallmark >= self.common >= self.occasional > self.unexplained > 0:
            raise ValueError(f"typicality must fall from hallmark to unexplained within (0, 1), got {numbers}")


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One condition: its findings by class, the test that confirms it, and its drugs in order of preference."""

    system: str
    hallmark: tuple[str, ...]
    common: tuple[str, ...]
    occasional: tuple[str, ...]
    test: str
    drugs: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.drugs) < 3:
            raise ValueError(f"a condition needs at least 3 drugs, got {list(self.drugs)}")
        for names in (self.findings, self.drugs):
            if len(set(names)) < len(names):
                raise ValueError(f"a condition lists a name twice in {list(names)}")

    @property
    def findings(self) -> tuple[str, ...]:
        """All its findings, hallmarks first."""
        return (*self.hallmark, *self.common, *self.occasional)


class KnowledgeBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """All the clinic knows, never changed. `contraindications` maps a flag of the history to the drugs it forbids."""

    typicality: Typicality
    conditions: dict[str, Condition]
    contraindications: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        forbidden = chain.from_iterable(self.contraindications.values())
        if unknown := sorted(set(forbidden) - set(self.drugs)):
            raise ValueError(f"contraindications name drugs that no condition uses: {', '.join(unknown)}")
        roles = (GLUE_WORDS, self.findings, self.flags, tuple(self.conditions), self.drugs, self.tests)
        role_of: dict[str, int] = {}
        for role, words in enumerate(roles):
            for word in words:
                if word.split() != [word]:
                    raise ValueError(f"{word!r} is not one word; join its parts with hyphens")
                if role_of.setdefault(word, role) != role:
                    raise ValueError(f"{word!r} has two roles; a name may stand for one thing only")

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """All findings, sorted."""
        return _sorted_names(condition.findings for condition in self.conditions.values())

    @cached_property
    def drugs(self) -> tuple[str, ...]:
        """All drugs, sorted."""
        return _sorted_names(condition.drugs for condition in self.conditions.values())

    @cached_property
    def tests(self) -> tuple[str, ...]:
        """All tests, sorted."""
        return _sorted_names([condition.test] for condition in self.conditions.values())

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """All history flags, in the order of the file."""
        return tuple(self.contraindications)

    @cached_property
    def likelihoods(self) -> dict[str, dict[str, float]]:
        """P(finding | condition) as `likelihoods[condition][finding]`, for the findings the condition lists."""
        return {name: self._likelihoods(condition) for name, condition in self.conditions.items()}

    @cached_property
    def _log_likelihoods(self) -> dict[str, tuple[float, ...]]:
        """Nats per finding: log P(finding | condition) of every condition, in the order of the file."""
        rows, unexplained = self.likelihoods.values(), self.typicality.unexplained
        return {name: tuple(math.log(row.get(name, unexplained)) for row in rows) for name in self.findings}

    def _likelihoods(self, condition: Condition) -> dict[str, float]:
        classes = ((name, getattr(condition, name)) for name in ("hallmark", "common", "occasional"))
        return {finding: getattr(self.typicality, name) for name, findings in classes for finding in findings}

    def posterior(self, findings: Sequence[str]) -> dict[str, float]:
        """P(condition | findings) by naive Bayes with equal priors.

        As a clinician reads a vignette, only what is shown counts: an absent finding is no evidence.
        """
        priors = [0.0] * len(self.conditions)
        columns = zip(priors, *(self._log_likelihoods[name] for name in findings), strict=True)
        logs = [math.fsum(column) for column in columns]  # exact, so that equal evidence is an exact tie
        top = max(logs)
        weights = [math.exp(log - top) for log in logs]
        total = math.fsum(weights)
        return dict(zip(self.conditions, (weight / total for weight in weights), strict=True))

    def forbidding_flag(self, drug: str, history: Sequence[str]) -> str | None:
        """The first entry of the history that forbids the drug, None where it is allowed."""
        return next((flag for flag in history if drug in self.contraindications[flag]), None)

    def drug_chain(self, condition: str, history: Sequence[str]) -> tuple[DrugStep, ...]:
        """The condition's drugs in order, each with the flag that forbids it, up to the first allowed one.

        Where all are forbidden the last one ends the chain as if it were allowed; questions never rest on that.
        """
        *earlier, last = self.conditions[condition].drugs
        steps: list[DrugStep] = []
        for drug in earlier:
            flag = self.forbidding_flag(drug, history)
            steps.append((drug, flag))
            if flag is None:
                return tuple(steps)
        return (*steps, (last, None))


def _sorted_names(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted(set(chain.from_iterable(groups))))


def parse_knowledge(text: str, source: str) -> KnowledgeBase:
    """The knowledge base that a YAML text describes.

    Raises:
        DataError: not YAML, a missing or unknown key, or contents that contradict each other; names `source`.
    """
    try:
        return msgspec.yaml.decode(text, type=KnowledgeBase)
    except msgspec.DecodeError as error:  # ValidationError is one too
        raise DataError(f"{source}: {error}; correct the knowledge base") from error


@cache
def load_knowledge() -> KnowledgeBase:
    """The packaged knowledge base, read once a process."""
    file = resources.files(__package__) / "knowledge.yaml"
    return parse_knowledge(file.read_text(encoding="utf-8"), file.name)


def vocabulary(knowledge: KnowledgeBase) -> tuple[str, ...]:
    """Every word that a stem, an option, a thought or an insight can contain, each once, in a stable order.

    Words that templates put around them (tags, separators) are not included.
    """
    names = (*knowledge.findings, *knowledge.flags, *knowledge.conditions, *knowledge.drugs, *knowledge.tests)
    return GLUE_WORDS + names
