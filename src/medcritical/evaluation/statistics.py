"""Intervals and tests for accuracies. Pure; numpy is imported by the bootstrap alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of a minus accuracy of b on the same questions, with a bootstrap interval. Shares, not percent."""

    difference: float
    low: float
    high: float


def wilson_interval(num_correct: int, num_questions: int, confidence: float) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927, JASA 22:209, Eq. 4)."""
    if not 0 <= num_correct <= num_questions or num_questions == 0:
        raise ValueError(f"{num_correct} of {num_questions} is no proportion")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = num_correct / num_questions, z * z / num_questions
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / num_questions + spread / (4 * num_questions))
    low = 0.0 if num_correct == 0 else centre - half
    high = 1.0 if num_correct == num_questions else centre + half
    return low, high


def mcnemar_exact(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Two-sided exact p value that a and b are equally often right, from the questions they disagree on."""
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    return sign_test(only_a, only_b)


def mcnemar_pooled(samples: Sequence[Mapping[str, int]]) -> float:
    """As `mcnemar_exact` over several seeds; samples as in `pooled_bootstrap`.

    A question's gains are added up over the seeds and the question counts once, by the sign of the sum: answers to one
    question are alike across seeds, and counting each of them would take one piece of evidence for many. Under the null
    hypothesis either sign is equally likely, so the test stays exact; with one seed it is McNemar's.
    """
    net: dict[str, int] = {}
    for gains in samples:
        for question, gain in gains.items():
            net[question] = net.get(question, 0) + gain
    return sign_test(sum(gain > 0 for gain in net.values()), sum(gain < 0 for gain in net.values()))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact p value of a fair coin; 1 without a throw. McNemar's exact test is this one on discordant pairs."""
    total, tail, ways = wins + losses, 0, 1
    for k in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (total - k) // (k + 1)
    return min(1.0, 2 * tail / (1 << total))


def paired_bootstrap(
    a: Sequence[bool], b: Sequence[bool], resamples: int, seed: int, confidence: float
) -> PairedDifference:
    """Difference of two accuracies with its percentile interval, resampling questions."""
    gains = {str(index): int(x) - int(y) for index, (x, y) in enumerate(zip(a, b, strict=True))}
    return pooled_bootstrap([gains], resamples, seed, confidence)


def pooled_bootstrap(
    samples: Sequence[Mapping[str, int]], resamples: int, seed: int, confidence: float
) -> PairedDifference:
    """As `paired_bootstrap` over several seeds: the mean of the seeds' differences, questions resampled.

    A sample maps question id to gain: right answers of a minus those of b, -1, 0 or 1. A question is drawn with its
    gains in all seeds, since answers to one question are alike across seeds. Trained models are held fixed: the
    interval says nothing of how other seeds would have turned out.
    """
    import numpy as np

    if not samples or not all(samples):
        raise ValueError("every seed needs at least one question that both sides answered")
    shares: dict[str, float] = {}
    for gains in samples:
        for question, gain in gains.items():
            shares[question] = shares.get(question, 0.0) + gain / len(gains) / len(samples)
    values, counts = np.unique(np.array(list(shares.values())), return_counts=True)
    # A resample's difference depends only on how often each value is drawn.
    drawn = np.random.default_rng(seed).multinomial(len(shares), counts / len(shares), size=resamples)
    low, high = np.quantile(drawn @ values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return PairedDifference(sum(shares.values()), float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p values, in the given order (Holm 1979, Scand. J. Statist. 6:65)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def minimum_detectable_difference(
    num_questions: int, accuracy: float, *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Least difference of two independent accuracies that a two-sided z test finds with this power.

    (z_{1-alpha/2} + z_power) * sqrt(2 p (1 - p) / n); pairing by question lowers it.
    """
    normal = NormalDist()
    factor = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    return factor * math.sqrt(2 * accuracy * (1 - accuracy) / num_questions)
