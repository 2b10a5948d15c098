"""What an accuracy is worth: without questions that have a copy in train, and under other orders of the options."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import fmean
from typing import Any

from medcritical.records import Attempt, PermutedAnswers


def accuracy_without(attempts: Sequence[Attempt], flagged: Collection[str]) -> float | None:
    """Accuracy on the questions whose id is not in `flagged`; None where that leaves none."""
    kept = [attempt.is_correct for attempt in attempts if attempt.question.id not in flagged]
    return fmean(kept) if kept else None


def consistency(answers: Sequence[Sequence[str | None]]) -> float:
    """Share of questions that were answered, and with the same letters every time.

    `answers` has for each question its answers under all orders of its options, in the letters of the question itself.
    An answer that could not be read agrees with nothing. One order alone says nothing about consistency: it is the
    share that could be read.
    """
    if not answers:
        raise ValueError("there is no question to be consistent on")
    return fmean(len(set(given)) == 1 and None not in given for given in answers)


def permuted_score(answers: Sequence[PermutedAnswers]) -> dict[str, Any]:
    """What several orders show, as fields of a `Score`: their number, mean accuracy over all answers, and consistency.

    A question whose options may not change places has one order alone.
    """
    return {
        "permutations": max(len(item.orders) for item in answers),
        "permuted_accuracy": fmean(fmean(letters == item.answer for letters in item.letters) for item in answers),
        "consistency": consistency([item.letters for item in answers]),
    }
