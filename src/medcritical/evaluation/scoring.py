"""From judged predictions to a score: exact-set accuracy, unparsed share, soundness, and the levels of knowing nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from medcritical.evaluation.statistics import wilson_interval
from medcritical.records import Attempt, Question, Score, Split


def score_attempts(attempts: Sequence[Attempt], *, data: str, split: Split, confidence: float) -> Score:
    """Score of one prediction per question. Unparsed answers count as wrong; several letters must all be right."""
    if not attempts:
        raise ValueError("there is nothing to score")
    num_correct = sum(attempt.is_correct for attempt in attempts)
    sound = [attempt.is_sound for attempt in attempts if attempt.is_sound is not None]
    low, high = wilson_interval(num_correct, len(attempts), confidence)
    gold = [attempt.question.answer for attempt in attempts]
    commonest = commonest_answer(gold)
    return Score(
        data=data,
        split=split,
        num_questions=len(attempts),
        num_correct=num_correct,
        num_unparsed=sum(attempt.letters is None for attempt in attempts),
        num_sound=sum(sound) if sound else None,
        accuracy=num_correct / len(attempts),
        ci_low=low,
        ci_high=high,
        chance=fmean(chance_of(attempt.question) for attempt in attempts),
        commonest_letter=commonest,
        commonest_letter_accuracy=gold.count(commonest) / len(gold),
        mean_tokens=fmean(attempt.completion_tokens for attempt in attempts),
    )


def chance_of(question: Question) -> float:
    """Probability of a blind guess: 1 / options, or 1 / (2^options - 1) where any non-empty set may be right."""
    options = len(question.options)
    return 1 / options if len(question.answer) == 1 else 1 / (2**options - 1)


def accuracy_by_arity(attempts: Sequence[Attempt]) -> dict[str, float]:
    """Accuracy of questions with one right letter ("single") and with several ("multi"); a kind without any is absent."""
    by_arity: dict[str, list[bool]] = {}
    for attempt in attempts:
        by_arity.setdefault("single" if len(attempt.question.answer) == 1 else "multi", []).append(attempt.is_correct)
    return {arity: fmean(right) for arity, right in by_arity.items()}


def commonest_answer(answers: Sequence[str]) -> str:
    """The most frequent answer; among equals the first in the alphabet."""
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def jaccard(a: str, b: str) -> float:
    """Share of letters that two answers have in common; 1 for two empty ones."""
    left, right = set(a), set(b)
    return len(left & right) / len(left | right) if left | right else 1.0
