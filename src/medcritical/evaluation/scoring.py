"""From judged predictions to a score: outcomes, letters in common, parts and slices, and the levels of knowing nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import msgspec

from medcritical.evaluation.agreement import measure_agreement
from medcritical.records import Attempt, Question, Score, Slice, Split, Tally
from medcritical.world import is_clinic

MOST_VALUES = 60
"""An annotation with more values than this tells questions apart instead of grouping them; CMExam has at most 36."""


SliceName = tuple[str, str]
"""Annotation and value."""

RIGHT_LETTERS, ONE, SEVERAL = "right letters", "one", "several"
"""The annotation that every question has: how many letters are right."""


def score_attempts(attempts: Sequence[Attempt], *, split: Split, is_judged: bool = False) -> Score:
    """Score of one prediction per question. `is_judged`: an LLM decided; else the exact rule did.

    Unparsed answers and those a judge left undecided count as not right; of several letters all must be right.
    """
    if not attempts:
        raise ValueError("there is nothing to score")
    single = [attempt for attempt in attempts if len(attempt.question.answer) == 1]
    multi = [attempt for attempt in attempts if len(attempt.question.answer) > 1]
    sound = [attempt.is_sound for attempt in attempts if attempt.is_sound is not None]
    return Score(
        **msgspec.structs.asdict(tally(attempts)),
        split=split,
        num_sound=sum(sound) if sound else None,
        mean_tokens=fmean(attempt.completion_tokens for attempt in attempts),
        single=tally(single) if single and multi else None,
        multi=tally(multi) if single and multi else None,
        slices=tuple(slice_attempts(attempts)),
        agreement=measure_agreement(attempts) if is_judged else None,
    )


def tally(attempts: Sequence[Attempt]) -> Tally:
    """Outcomes of a group of attempts, at least one."""
    outcomes = Counter(attempt.outcome for attempt in attempts)
    gold = [attempt.question.answer for attempt in attempts]
    commonest = commonest_answer(gold)
    return Tally(
        num_questions=len(attempts),
        num_correct=outcomes["right"],
        num_unparsed=outcomes["unparsed"],
        num_undecided=outcomes["undecided"],
        accuracy=outcomes["right"] / len(attempts),
        chance=fmean(chance_of(attempt.question) for attempt in attempts),
        commonest_letter=commonest,
        commonest_letter_accuracy=gold.count(commonest) / len(gold),
        jaccard=fmean(jaccard(attempt.letters or "", attempt.question.answer) for attempt in attempts),
    )


def slice_attempts(attempts: Sequence[Attempt]) -> list[Slice]:
    """The tally of every value of every annotation that parts the questions, the largest groups first.

    Left out is an annotation with one value, which parts nothing, and one with more than MOST_VALUES.
    """
    groups: dict[str, dict[str, list[Attempt]]] = {}
    for attempt in attempts:
        for annotation, value in annotations_of(attempt.question).items():
            groups.setdefault(annotation, {}).setdefault(value, []).append(attempt)
    return [
        Slice(**msgspec.structs.asdict(tally(group)), annotation=annotation, value=value)
        for annotation, by_value in groups.items()
        if 1 < len(by_value) <= MOST_VALUES
        for value, group in sorted(by_value.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def annotations_of(question: Question) -> dict[str, str]:
    """What a data set says about a question, as text. Of the clinic's hidden case only the kind is no secret."""
    if is_clinic(question):
        return {"kind": question.meta["kind"]}
    return {name: str(value) for name, value in question.meta.items() if isinstance(value, str | int)}


def slices_of(question: Question) -> list[SliceName]:
    """Every slice that a question can be in: by its annotations, and by how many letters are right."""
    arity = ONE if len(question.answer) == 1 else SEVERAL
    return [(RIGHT_LETTERS, arity), *annotations_of(question).items()]


def parts_of(score: Score) -> dict[SliceName, Tally]:
    """The tallies of a score's parts, those by the number of right letters first."""
    arity = {(RIGHT_LETTERS, ONE): score.single, (RIGHT_LETTERS, SEVERAL): score.multi}
    parts = {name: part for name, part in arity.items() if part is not None}
    return parts | {(part.annotation, part.value): part for part in score.slices}


def chance_of(question: Question) -> float:
    """Probability of a blind guess: 1 / options, or 1 / (2^options - 1) where any non-empty set may be right."""
    options = len(question.options)
    return 1 / options if len(question.answer) == 1 else 1 / (2**options - 1)


def commonest_answer(answers: Sequence[str]) -> str:
    """The most frequent answer; among equals the first in the alphabet."""
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def jaccard(a: str, b: str) -> float:
    """Share of letters that two answers have in common; 1 for two empty ones."""
    left, right = set(a), set(b)
    return len(left & right) / len(left | right) if left | right else 1.0
