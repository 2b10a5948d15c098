"""How often the intervals of docs/statistics.md cover the truth: simulated accuracies and differences whose truth is known.

    python benchmarks/coverage.py            # the table of docs/statistics.md, 2,000 replicates a line
    python benchmarks/coverage.py --others   # the methods that were not taken, too

An answer is right where ability + difficulty of the question + luck of the seed + what the two have with each other is above
0, all of them normal. The true accuracy, over all seeds and all questions, is then a value of the normal distribution function.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, t

from medcritical.evaluation.statistics import MeanParts, accuracy_bounds, difference_parts, half_width, mean_parts

LEVEL = 0.95
DIFFICULTY, TASTE, INTERACTION = 1.0, 0.5, 1.2
"""Deviations, in units of the score: of questions, alike for all models; of an arm with a question; of a seed with a question."""
CHUNK = 50  # replicates at a time
RESAMPLES = 400

Array = Any


@dataclass(frozen=True)
class Case:
    """A world: `deviation` is that of a seed's accuracy, as a share; nested questions are each seed's own."""

    num_seeds: int
    deviation: float
    is_difference: bool
    is_nested: bool
    accuracy: float = 0.7
    gap: float = 0.04
    num_questions: int = 1000

    @property
    def words(self) -> tuple[str, ...]:
        """How it is named in a table."""
        what = "difference" if self.is_difference else "accuracy"
        questions = "each seed's own" if self.is_nested else "the same"
        return what, questions, str(self.num_seeds), f"{100 * self.deviation:g}"


def simulate(case: Case, replicates: int, seed: int) -> Iterator[tuple[Array, float]]:
    """(values, truth) in chunks: values as `mean_parts` reads them, (CHUNK, seeds, questions)."""
    rng = np.random.default_rng(seed)
    luck = math.sqrt(DIFFICULTY**2 + TASTE**2 + INTERACTION**2)
    ability = float(norm.ppf(case.accuracy))
    of_seed = case.deviation / float(norm.pdf(ability)) * luck
    total = math.sqrt(luck**2 + of_seed**2)
    own = case.num_seeds if case.is_nested and case.num_seeds > 1 else 1
    shape = (CHUNK, own, case.num_questions)

    def draw(*size: int) -> Array:
        return rng.standard_normal(size, dtype=np.float32)

    def arm(difficulty: Array, accuracy: float) -> tuple[Array, float]:
        threshold = float(norm.ppf(accuracy)) * luck
        seeds = of_seed * draw(CHUNK, case.num_seeds, 1)
        if case.num_seeds == 1:
            seeds = 0 * seeds  # one model: its own accuracy is what the interval is about
        noise = INTERACTION * draw(CHUNK, case.num_seeds, case.num_questions)
        score = threshold + difficulty + TASTE * draw(*shape) + seeds + noise
        return (score > 0).astype(np.float64), float(norm.cdf(threshold / (luck if case.num_seeds == 1 else total)))

    for _ in range(0, replicates, CHUNK):
        difficulty = DIFFICULTY * draw(*shape)
        values, truth = arm(difficulty, case.accuracy)
        if case.is_difference:
            others, other_truth = arm(difficulty, case.accuracy - case.gap)
            values, truth = values - others, truth - other_truth
        yield (apart(values) if case.is_nested and case.num_seeds > 1 else values), truth


def apart(values: Array) -> Array:
    """Each seed's questions in columns of their own, NaN in those of the others."""
    chunk, num_seeds, num_questions = values.shape
    spread = np.full((chunk, num_seeds, num_seeds, num_questions), np.nan)
    for seed in range(num_seeds):
        spread[:, seed, seed] = values[:, seed]
    return spread.reshape(chunk, num_seeds, num_seeds * num_questions)


def chosen(case: Case, values: Array) -> tuple[Array, Array]:
    """Bounds by the program's own interval."""
    if not case.is_difference:
        return accuracy_bounds(values, LEVEL)
    parts = difference_parts(values)
    return around(parts, half_width(parts, 1 - LEVEL))


def questions_only(case: Case, values: Array) -> tuple[Array, Array]:
    """Trained models held fixed: what the tables showed before."""
    parts = mean_parts(values)
    return around(parts, norm.isf((1 - LEVEL) / 2) * np.sqrt(parts.over_questions))


def over_seeds(case: Case, values: Array) -> tuple[Array, Array]:
    """The t interval over the seeds' means."""
    parts = mean_parts(values)
    return around(parts, t.isf((1 - LEVEL) / 2, case.num_seeds - 1) * np.sqrt(parts.between / case.num_seeds))


def satterthwaite(case: Case, values: Array) -> tuple[Array, Array]:
    """Crossed random effects: variance as in the program, but at least that over questions, with Satterthwaite's degrees."""
    parts = mean_parts(values)
    seeds, shared = parts.between / case.num_seeds, np.maximum(parts.shared, 0)
    degrees = (seeds + shared) ** 2 / (seeds**2 / (case.num_seeds - 1) + shared**2 / (parts.num_questions - 1) + 1e-30)
    is_flat = seeds + shared <= parts.over_questions
    degrees = np.where(is_flat, parts.num_questions - 1, degrees)
    variance = np.maximum(seeds + shared, parts.over_questions)
    return around(parts, t.isf((1 - LEVEL) / 2, degrees) * np.sqrt(variance))


def hierarchical_bootstrap(case: Case, values: Array) -> tuple[Array, Array]:
    """Percentiles over resampled seeds and, within, resampled questions (the same for all seeds where they are crossed)."""
    rng = np.random.default_rng(0)
    bounds = []
    for each in values:
        shares = np.full(case.num_seeds, 1 / case.num_seeds)
        seeds = rng.multinomial(case.num_seeds, shares, RESAMPLES) / case.num_seeds
        if case.is_nested:
            means = np.stack([_resampled(rng, own[~np.isnan(own)][None, :])[:, 0] for own in each], axis=1)
        else:
            means = _resampled(rng, each)
        bounds.append(np.quantile((seeds * means).sum(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    low, high = np.array(bounds).T
    return low, high


def _resampled(rng: np.random.Generator, values: Array) -> Array:
    num_questions = values.shape[-1]
    drawn = rng.multinomial(num_questions, np.full(num_questions, 1 / num_questions), RESAMPLES)
    return drawn @ values.T / num_questions


def around(parts: MeanParts, half: Array) -> tuple[Array, Array]:
    """Mean plus and minus half."""
    return parts.mean - half, parts.mean + half


Method = Callable[[Case, Array], tuple[Array, Array]]
OTHERS: dict[str, Method] = {
    "questions only": questions_only,
    "t over seeds": over_seeds,
    "Satterthwaite": satterthwaite,
    "bootstrap": hierarchical_bootstrap,
}


def coverage(case: Case, replicates: int = 2000, seed: int = 0, method: Method = chosen) -> tuple[float, float]:
    """(share of intervals that hold the truth, mean width)."""
    held: list[Array] = []
    widths: list[Array] = []
    for values, truth in simulate(case, replicates, seed):
        low, high = method(case, values)
        held.append((low <= truth) & (truth <= high))
        widths.append(high - low)
    return float(np.concatenate(held).mean()), float(np.concatenate(widths).mean())


def cases() -> list[Case]:
    """The lines of the table."""
    ones = [Case(1, 0.0, is_difference, False) for is_difference in (False, True)]
    return ones + [
        Case(num_seeds, deviation, is_difference, is_nested)
        for is_difference in (False, True)
        for is_nested in (False, True)
        for num_seeds in (3, 5, 10)
        for deviation in (0.001, 0.02, 0.035, 0.05)
    ]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000, help="simulated tables a line (default 2000)")
    parser.add_argument(
        "--others", action="store_true", help="also the methods that were not taken (200 for the bootstrap)"
    )
    options = parser.parse_args()
    others = OTHERS if options.others else {}
    header = ["of", "questions", "seeds", "deviation of a seed", "covered %", "mean width", *others]
    print("| " + " | ".join(header) + " |\n|---|---|" + "---:|" * (len(header) - 2))
    for case in cases():
        covered, width = coverage(case, options.replicates)
        cells = [*case.words, f"{100 * covered:.1f}", f"{100 * width:.1f}"]
        for name, method in others.items():
            replicates = min(options.replicates, 200) if name == "bootstrap" else options.replicates
            is_known = case.num_seeds > 1
            cells.append(f"{100 * coverage(case, replicates, method=method)[0]:.1f}" if is_known else "")
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
