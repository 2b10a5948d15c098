"""Rule against judge: how often two verifiers agree about the same answers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from medcritical.records import Agreement, Attempt, Judged


def measure_agreement(attempts: Iterable[Attempt]) -> Agreement:
    """What the judge decided about the attempts that it was asked about, by what the rule found."""
    counts = Counter((_rule_outcome(attempt), attempt.judgement) for attempt in attempts if attempt.judgement)

    def judged(rule: str) -> Judged:
        return Judged(right=counts[rule, "right"], wrong=counts[rule, "wrong"], undecided=counts[rule, "undecided"])

    return agreement_of(judged("right"), judged("wrong"), judged("unparsed"))


def agreement_of(right: Judged, wrong: Judged, unparsed: Judged) -> Agreement:
    """The agreement with its kappa, from the counts by the rule's outcome."""
    kappa = cohen_kappa(
        both=right.right,
        only_first=right.wrong,
        only_second=wrong.right + unparsed.right,
        neither=wrong.wrong + unparsed.wrong,
    )
    return Agreement(right=right, wrong=wrong, unparsed=unparsed, kappa=kappa)


def add_agreements(agreements: Sequence[Agreement]) -> Agreement:
    """The agreements of several seeds as one, counts added up."""

    def added(parts: Sequence[Judged]) -> Judged:
        return Judged(
            right=sum(part.right for part in parts),
            wrong=sum(part.wrong for part in parts),
            undecided=sum(part.undecided for part in parts),
        )

    return agreement_of(
        added([agreement.right for agreement in agreements]),
        added([agreement.wrong for agreement in agreements]),
        added([agreement.unparsed for agreement in agreements]),
    )


def cohen_kappa(*, both: int, only_first: int, only_second: int, neither: int) -> float | None:
    """Agreement of two yes-or-no raters beyond chance (Cohen 1960, Educ. Psychol. Meas. 20:37); None where undefined."""
    total = both + only_first + only_second + neither
    if total == 0:
        return None
    first, second = (both + only_first) / total, (both + only_second) / total
    expected = first * second + (1 - first) * (1 - second)
    return None if expected == 1 else ((both + neither) / total - expected) / (1 - expected)


def _rule_outcome(attempt: Attempt) -> str:
    if attempt.letters is None:
        return "unparsed"
    return "right" if attempt.letters == attempt.question.answer else "wrong"
