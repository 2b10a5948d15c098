"""Intervals and tests for accuracies and for paired differences, over questions and, where there are several, over seeds.

Pure. The formulas are those of scipy and statsmodels; they are imported where they are used, since a command that only plans or
prints its help has no need of them. What is written out here is the variance of a mean over seeds and questions that are crossed,
nested, or anything between (docs/statistics.md), which neither library has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Samples = Sequence[Mapping[str, float]]
"""Per seed: question id -> 1 for a right answer and 0 for another one; of a difference, the right answers of one side minus those
of the other: -1, 0 or 1."""

SMALLEST_LOG_P = -512.0  # below it the quantiles of scipy are no longer to be relied on
ROUNDING = 1e-9  # shares that are closer than this are the same


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of one side minus that of the other on the same questions, as a share, with its interval and test.

    `p` is two-sided: McNemar's exact test of one seed, the t test of `p_value_over_seeds` of several. `is_flat`: several seeds
    have one and the same mean, which says nothing of how seeds vary, so that interval and p are over questions only.
    """

    value: float
    low: float
    high: float
    p: float
    num_seeds: int
    is_flat: bool


@dataclass(frozen=True)
class MeanParts:
    """A mean over seeds and questions, and what its variance is made of. Numbers, or arrays of one and the same shape.

    Attributes:
        mean: mean of the seeds' own means: seeds weigh alike.
        between: variance of the seeds' means (n - 1); 0 for one seed.
        within: variance that a seed's mean has by its questions, averaged over seeds.
        shared: covariance that the means of two seeds have by the questions that both answered, averaged over pairs of seeds.
            0 where they answered different ones. What is common to all seeds is not in `between`.
    """

    mean: Any
    between: Any
    within: Any
    shared: Any
    num_seeds: int
    num_questions: int

    @property
    def over_questions(self) -> Any:
        """Variance of the mean with these very seeds: other questions, the same models.

        A covariance below 0 is taken for 0, as in `half_width`: of seeds that share few questions it could outweigh the variance.
        """
        import numpy as np

        return (self.within + (self.num_seeds - 1) * np.maximum(self.shared, 0)) / self.num_seeds

    @property
    def is_flat(self) -> Any:
        """Whether several seeds have one and the same mean."""
        return self.between < ROUNDING**2 if self.num_seeds > 1 else False

    @property
    def of_seeds(self) -> Any:
        """Variance of what a seed's mean would be over endlessly many questions; it can come out below 0."""
        return self.between + self.shared - self.within


def wilson_interval(num_correct: float, num_questions: float, confidence: float) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927, JASA 22:209, Eq. 4)."""
    if not 0 <= num_correct <= num_questions or num_questions == 0:
        raise ValueError(f"{num_correct} of {num_questions} is no proportion")
    low, high = wilson_bounds(num_correct, num_questions, confidence)
    return float(low), float(high)


def accuracy_interval(samples: Samples, confidence: float) -> tuple[float, float]:
    """Interval of an accuracy: Wilson's over the questions of one seed, over several one that counts seeds and questions.

    That is Wilson's too, with as many questions as give the half-width of `half_width`, so that it stays between 0 and 1.
    """
    low, high = accuracy_bounds(as_array(samples), confidence)
    return float(low), float(high)


def paired_difference(samples: Samples, confidence: float) -> PairedDifference:
    """Mean of the gains of `samples`, over seeds and questions, with its interval and test."""
    parts = difference_parts(as_array(samples))
    half, value = float(half_width(parts, 1 - confidence)), float(parts.mean)
    if parts.num_seeds == 1:
        gains = list(samples[0].values())
        p = mcnemar_exact(sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains))
    else:
        p = p_value_over_seeds(parts)
    low, high = max(-1.0, value - half), min(1.0, value + half)
    return PairedDifference(value, low, high, p, parts.num_seeds, bool(parts.is_flat))


def wilson_bounds(num_correct: Any, num_questions: Any, confidence: float) -> tuple[Any, Any]:
    """Wilson's interval of numbers or arrays; its ends at 0 and 1 are exact."""
    import numpy as np
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(num_correct, num_questions, alpha=1 - confidence, method="wilson")
    return np.where(num_correct == 0, 0.0, low), np.where(num_correct == num_questions, 1.0, high)


def accuracy_bounds(values: Any, confidence: float) -> tuple[Any, Any]:
    """`accuracy_interval` of answers in arrays as `mean_parts` reads them."""
    import numpy as np
    from scipy.stats import norm

    parts = mean_parts(values)
    if parts.num_seeds == 1:
        return wilson_bounds(np.nansum(values, -1)[..., 0], parts.num_questions, confidence)
    half = half_width(parts, 1 - confidence)
    is_constant = half < ROUNDING  # all right, or all wrong
    normal = (norm.isf((1 - confidence) / 2) / np.where(is_constant, 1, half)) ** 2
    num_questions = np.where(is_constant, parts.num_questions, parts.mean * (1 - parts.mean) * normal)
    return wilson_bounds(parts.mean * num_questions, num_questions, confidence)


def difference_parts(values: Any) -> MeanParts:
    """`mean_parts` of gains, as if each seed had won half a question more and lost half a question more.

    So there is an interval where no question differs, or all do (Agresti & Min 2005, Statist. Med. 24:729).
    """
    import numpy as np

    parts = mean_parts(values)
    return replace(parts, within=parts.within + (1.0 / (~np.isnan(values)).sum(-1) ** 2).mean(-1))


def as_array(samples: Samples) -> Any:
    """Samples as an array of seeds by questions, NaN where a seed did not answer a question."""
    import numpy as np

    if not samples or not all(samples):
        raise ValueError("every seed needs at least one question")
    place = {name: number for number, name in enumerate(dict.fromkeys(name for each in samples for name in each))}
    values = np.full((len(samples), len(place)), math.nan)
    for row, sample in zip(values, samples, strict=True):
        row[[place[name] for name in sample]] = list(sample.values())
    return values


def mean_parts(values: Any) -> MeanParts:
    """What the mean of `values`, (..., seeds, questions), and its variance are made of; NaN where a question was not asked.

    Questions that all seeds answer are a crossed design, questions of each seed's own a nested one; what is between them is
    weighed by how many questions two seeds share.
    """
    import numpy as np

    asked = ~np.isnan(values)
    num_seeds, num_questions = values.shape[-2:]
    counts = asked.sum(-1)
    means = np.nansum(values, -1) / counts
    deviations = np.where(asked, values - means[..., None], 0.0)
    common = asked.astype(float) @ np.swapaxes(asked.astype(float), -1, -2)
    weights = common / np.maximum(common - 1, 1) / (counts[..., :, None] * counts[..., None, :])
    covariances = weights * (deviations @ np.swapaxes(deviations, -1, -2))
    diagonal = np.trace(covariances, axis1=-2, axis2=-1)
    pairs = num_seeds * (num_seeds - 1)
    shared = (covariances.sum((-2, -1)) - diagonal) / max(pairs, 1)
    between = means.var(-1, ddof=1) if pairs else 0.0 * diagonal
    return MeanParts(means.mean(-1), between, diagonal / num_seeds, shared, num_seeds, num_questions)


def half_width(parts: MeanParts, alpha: float) -> Any:
    """Half of the interval of a mean at level 1 - alpha: quantile times standard error.

    The variance over several seeds is between / seeds + shared, and the quantile that of Cochran and Cox (1950, Experimental
    Designs, 4.14): the mean of the two parts' t quantiles, weighed by their variance. Nested questions leave the t interval over
    seeds. One seed, and several of one and the same mean, leave the interval over questions.
    """
    import numpy as np
    from scipy.stats import t

    tail, per_question = alpha / 2, max(parts.num_questions - 1, 1)
    over_questions = t.isf(tail, per_question) * np.sqrt(parts.over_questions)
    if parts.num_seeds == 1:
        return over_questions
    seeds, shared = parts.between / parts.num_seeds, np.maximum(parts.shared, 0)
    weighed = seeds * t.isf(tail, parts.num_seeds - 1) + shared * t.isf(tail, per_question)
    return np.where(parts.is_flat, over_questions, weighed / np.sqrt(np.where(parts.is_flat, 1, seeds + shared)))


def p_value_over_seeds(parts: MeanParts) -> float:
    """Two-sided p value of the t test of Cochran and Cox that a mean over several seeds is 0.

    It is the level at which the interval of `half_width` just reaches 0.
    """
    from scipy.optimize import brentq

    size = abs(float(parts.mean))

    def beyond(log_p: float) -> float:
        return float(half_width(parts, math.exp(log_p)) - size)

    if size == 0:
        return 1.0
    lowest = -1.0
    while beyond(lowest) < 0 and lowest > SMALLEST_LOG_P:
        lowest *= 2
    return math.exp(lowest if beyond(lowest) < 0 else brentq(beyond, lowest, 0.0))


def mcnemar_exact(num_won: int, num_lost: int) -> float:
    """Two-sided p value of McNemar's exact test, from how many questions only one side, and only the other, got right."""
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, num_won], [num_lost, 0]], exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p values, in the given order (Holm 1979, Scand. J. Statist. 6:65)."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def minimum_detectable_difference(num_questions: int, accuracy: float, *, power: float, confidence: float) -> float:
    """Least difference of two independent accuracies of one seed each that a two-sided z test finds with this power.

    (z_{1-alpha/2} + z_power) * sqrt(2 p (1 - p) / n); pairing by question lowers it, variation between seeds raises it. 0 for a
    level at which chance alone is found as often as that.
    """
    if 1 - confidence >= power - ROUNDING:
        return 0.0
    from statsmodels.stats.power import NormalIndPower

    solved = NormalIndPower().solve_power(nobs1=num_questions, alpha=1 - confidence, power=power)
    return float(solved) * math.sqrt(accuracy * (1 - accuracy))
