"""How many seeds and questions find a difference of a given size, from the variances of one that was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from medcritical.evaluation.statistics import Samples, as_array, mean_parts

POWER = 0.8
MOST_DOUBLINGS = 40
"""Of one seed or question: what 2^40 do not find, no number does."""


@dataclass(frozen=True)
class Components:
    """Variances that a paired difference is made of, as shares of one question squared.

    Attributes:
        seed: of a seed's true difference, over endlessly many questions.
        question: of a question's difference that is common to all seeds; 0 where each seed has questions of its own, for then it
            is in `answer`.
        answer: of one answer, what is left.
        num_seeds, num_questions: what was measured; questions of one seed.
    """

    seed: float
    question: float
    answer: float
    num_seeds: int
    num_questions: int


def components(samples: Samples) -> Components:
    """Variances behind the gains of several seeds, estimated by their means; one below 0 is taken for 0.

    Raises ValueError for a single seed, which says nothing of how seeds vary.
    """
    if len(samples) < 2:
        raise ValueError("one seed says nothing of how seeds vary")
    parts = mean_parts(as_array(samples))
    num_questions = round(sum(map(len, samples)) / len(samples))
    question = max(0.0, float(parts.shared)) * num_questions
    answer = float(parts.within) * num_questions - question
    return Components(max(0.0, float(parts.of_seeds)), question, max(0.0, answer), len(samples), num_questions)


def power(variances: Components, difference: float, num_seeds: int, num_questions: int, confidence: float) -> float:
    """Probability that the t test over seeds and questions finds a true difference, with its sign, at level
    1 - confidence.

    The test statistic is taken for noncentral t with Satterthwaite's degrees of freedom; with questions of each seed's own this
    is the power of the t test over seeds.
    """
    from scipy.stats import nct, t

    between = (variances.seed + variances.answer / num_questions) / num_seeds
    shared, per_question = variances.question / num_questions, max(num_questions - 1, 1)
    total = between + shared
    if total == 0:
        return 1.0
    tail = (1 - confidence) / 2
    critical = (between * t.isf(tail, num_seeds - 1) + shared * t.isf(tail, per_question)) / total
    degrees = total**2 / (between**2 / (num_seeds - 1) + shared**2 / per_question)
    centre = abs(difference) / math.sqrt(total)
    return float(nct.sf(critical, degrees, centre))


def seeds_needed(variances: Components, difference: float, num_questions: int, confidence: float) -> int | None:
    """Fewest seeds with which such a difference is found with a power of 80 %; None where no number of seeds does."""
    return _least(lambda seeds: power(variances, difference, seeds, num_questions, confidence))


def questions_needed(variances: Components, difference: float, num_seeds: int, confidence: float) -> int | None:
    """Fewest questions with which such a difference is found with a power of 80 %; None where no number of questions does."""
    return _least(lambda number: power(variances, difference, num_seeds, number, confidence))


def _least(power_of: Callable[[int], float]) -> int | None:
    """The least number from 2 whose power is enough, in the first interval between two doublings that ends in such a one.

    Power need not rise with the number: with few seeds, whose quantile is wide, it falls again where questions are so many that
    only seeds vary.
    """
    doublings = (1 << exponent for exponent in range(1, MOST_DOUBLINGS + 1))
    high = next((number for number in doublings if power_of(number) >= POWER), None)
    if high is None:
        return None
    low = max(2, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= POWER else (middle + 1, high)
    return low
