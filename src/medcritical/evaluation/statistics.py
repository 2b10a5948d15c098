"""Statistics of right and wrong answers: intervals, paired tests, correction for many tests, detectable differences.

Pure functions of counts and of vectors of bool, one entry per question, aligned between the two sides of a pair.
Differences and bounds are fractions, not percentage points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_CHUNK_CELLS = 4_000_000  # resampled questions held at once: 32 MB of indices


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Accuracy of `b` minus accuracy of `a` on the same questions, with its percentile bootstrap interval."""

    difference: float
    low: float
    high: float


def wilson_interval(num_correct: int, num_questions: int, confidence: float) -> tuple[float, float]:
    """Returns the Wilson score interval (low, high) of an accuracy.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), Wilson 1927, JASA 22:209. Unlike the normal interval it stays
    within [0, 1] and covers at few questions.

    Raises:
        ValueError: `num_correct` is not between 0 and `num_questions`, there are no questions, or `confidence` is not
            between 0 and 1.
    """
    if num_questions < 1 or not 0 <= num_correct <= num_questions:
        raise ValueError(f"{num_correct} correct of {num_questions} questions is no accuracy")
    z = _quantile(confidence)
    share = num_correct / num_questions
    centre = share + z * z / (2 * num_questions)
    half_width = z * math.sqrt(share * (1 - share) / num_questions + (z / (2 * num_questions)) ** 2)
    scale = 1 + z * z / num_questions
    # At 0 or all correct the bound is exact; rounding would leave it a hair off.
    low = 0.0 if num_correct == 0 else (centre - half_width) / scale
    high = 1.0 if num_correct == num_questions else (centre + half_width) / scale
    return low, high


def mcnemar_exact(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Returns the two-sided exact McNemar p value for two sides that answered the same questions.

    Only questions that one side has right and the other wrong count; under the null each falls to either side with
    probability 1/2 (McNemar 1947, Psychometrika 12:153). 1.0 where the sides never differ.

    Raises:
        ValueError: The two sides differ in length.
    """
    _check_paired(a, b)
    num_a_only = sum(x and not y for x, y in zip(a, b, strict=True))
    num_b_only = sum(y and not x for x, y in zip(a, b, strict=True))
    num_discordant = num_a_only + num_b_only
    tail = sum(math.comb(num_discordant, k) for k in range(min(num_a_only, num_b_only) + 1))
    # Whole numbers up to here: 2**num_discordant has no place in a float beyond 1,023 discordant questions.
    return min(1.0, _ratio(2 * tail, num_discordant))


def paired_bootstrap(
    a: Sequence[bool], b: Sequence[bool], resamples: int, seed: int, confidence: float
) -> PairedDifference:
    """Returns the accuracy of `b` minus that of `a`, with a percentile interval over resampled questions.

    Holds the two models fixed: it says how the difference would vary with other questions, not with other seeds.

    Raises:
        ValueError: The two sides differ in length or are empty, or there are no resamples.
    """
    return paired_bootstrap_over_seeds([(a, b)], resamples, seed, confidence)


def paired_bootstrap_over_seeds(
    groups: Sequence[tuple[Sequence[bool], Sequence[bool]]], resamples: int, seed: int, confidence: float
) -> PairedDifference:
    """Returns the pooled difference of several seeds, each a pair (a, b) of aligned vectors.

    Every question counts the same, so a seed weighs by its number of questions. Questions are resampled within their
    seed, which keeps each seed's share: the spread between trainings is not in the interval.

    Raises:
        ValueError: No group, a group that is empty or whose two sides differ in length, or no resamples.
    """
    if not groups or resamples < 1:
        raise ValueError(f"{len(groups)} groups and {resamples} resamples give no interval")
    generator = np.random.default_rng(seed)
    totals = np.zeros(resamples)
    num_questions, total = 0, 0.0
    for a, b in groups:
        _check_paired(a, b)
        changes = np.asarray(b, dtype=np.int64) - np.asarray(a, dtype=np.int64)
        totals += _resampled_totals(changes, resamples, generator)
        num_questions += len(changes)
        total += float(changes.sum())
    tail = (1 - confidence) / 2
    low, high = np.quantile(totals / num_questions, [tail, 1 - tail])
    return PairedDifference(difference=total / num_questions, low=float(low), high=float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p values adjusted for their number by Holm's step-down method, in the order given.

    The i-th smallest of m (from 0) is multiplied by m - i and never falls below a smaller one's (Holm 1979, Scand. J.
    Statist. 6:65). Compare the results with alpha itself: the chance of any false claim stays at most alpha.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def minimum_detectable_difference(
    num_questions: int, accuracy: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Returns the smallest difference in accuracy that two models on `num_questions` each would show.

    (z_{1-alpha/2} + z_power) sqrt(2 p(1-p) / n): two independent proportions near p, normal approximation (Fleiss,
    Statistical Methods for Rates and Proportions, sec. 4.2, equal variances). Conservative for paired answers, whose
    difference varies less the more the two models agree.

    Raises:
        ValueError: No questions, or an accuracy, power or alpha that is not between 0 and 1.
    """
    if num_questions < 1 or not 0 < accuracy < 1 or not 0 < power < 1:
        raise ValueError(f"no detectable difference for n={num_questions}, accuracy={accuracy}, power={power}")
    z = _quantile(1 - alpha) + NormalDist().inv_cdf(power)
    return z * math.sqrt(2 * accuracy * (1 - accuracy) / num_questions)


def _resampled_totals(changes: NDArray[np.int64], resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Returns, for each resample of the questions, the sum of their changes (+1 gained, -1 lost). Shape (resamples,)."""
    chunk = max(1, _CHUNK_CELLS // len(changes))
    totals = np.empty(resamples)
    for start in range(0, resamples, chunk):
        size = (min(chunk, resamples - start), len(changes))
        totals[start : start + chunk] = changes[generator.integers(len(changes), size=size)].sum(axis=1)
    return totals


def _quantile(confidence: float) -> float:
    """Returns the standard normal quantile that leaves (1 - confidence) / 2 on either side."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _check_paired(a: Sequence[bool], b: Sequence[bool]) -> None:
    if len(a) != len(b) or not len(a):
        raise ValueError(f"paired answers need the same questions on both sides, not {len(a)} and {len(b)}")


def _ratio(numerator: int, exponent: int) -> float:
    """Returns numerator / 2**exponent; true division of whole numbers rounds once and does not overflow."""
    return numerator / (1 << exponent)
