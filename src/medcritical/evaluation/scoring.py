"""Scores of attempts: accuracy with its interval, beside what guessing and the commonest letter would reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medcritical.errors import DataError
from medcritical.evaluation.statistics import wilson_interval
from medcritical.records import Attempt, Question, Score, Split


def score_attempts(attempts: Sequence[Attempt], *, data: str, split: Split, confidence: float) -> Score:
    """Returns the score of one attempt per question: an answer of several letters is right only as the exact set.

    The interval is Wilson's. `num_sound` is None where no attempt says whether its reasoning is sound. `mean_tokens` is
    completion tokens per attempt.

    Raises:
        DataError: There are no attempts, or a question comes twice: its attempts would not be independent.
    """
    if not attempts:
        raise DataError(f"no attempts to score on {data}/{split}; is the split empty?")
    _refuse_repeated(attempts, f"{data}/{split}")
    num_questions = len(attempts)
    num_correct = sum(attempt.is_correct for attempt in attempts)
    low, high = wilson_interval(num_correct, num_questions, confidence)
    is_sound = [attempt.is_sound for attempt in attempts if attempt.is_sound is not None]
    questions = [attempt.question for attempt in attempts]
    commonest, commonest_accuracy = _commonest_letter(questions)
    return Score(
        data=data,
        split=split,
        num_questions=num_questions,
        num_correct=num_correct,
        num_unparsed=sum(attempt.letters is None for attempt in attempts),
        num_sound=sum(is_sound) if is_sound else None,
        accuracy=num_correct / num_questions,
        ci_low=low,
        ci_high=high,
        chance=sum(map(chance, questions)) / num_questions,
        commonest_letter=commonest,
        commonest_letter_accuracy=commonest_accuracy,
        mean_tokens=sum(attempt.completion_tokens for attempt in attempts) / num_questions,
    )


def chance(question: Question) -> float:
    """Returns the probability of guessing the answer.

    One of n options where one letter is right; one of the 2^n - 1 non-empty sets of letters where several are, for who
    knows that several are asked for still has to name the set.
    """
    num_options = len(question.options)
    return 1 / num_options if len(question.answer) == 1 else 1 / (2**num_options - 1)


def jaccard(letters_a: str, letters_b: str) -> float:
    """Returns the overlap of two sets of letters, intersection over union: partial credit for several letters.

    1.0 for two empty sets.
    """
    a, b = set(letters_a), set(letters_b)
    return len(a & b) / len(a | b) if a | b else 1.0


def accuracy_by_arity(attempts: Sequence[Attempt]) -> dict[str, float]:
    """Returns accuracy of questions with one right letter ("single") and with several ("multi"); absent kinds left out."""
    by_arity: dict[str, list[bool]] = {}
    for attempt in attempts:
        by_arity.setdefault("single" if len(attempt.question.answer) == 1 else "multi", []).append(attempt.is_correct)
    return {arity: sum(right) / len(right) for arity, right in sorted(by_arity.items(), reverse=True)}


def _commonest_letter(questions: Sequence[Question]) -> tuple[str, float]:
    """Returns (commonest right letter, accuracy of always answering it); a tie goes to the first in the alphabet.

    A question with several right letters is never right by one letter, so it does not count for a letter.
    """
    singles = Counter(question.answer for question in questions if len(question.answer) == 1)
    if not singles:
        letters = Counter(letter for question in questions for letter in question.answer)
        return min(letters, key=lambda letter: (-letters[letter], letter)), 0.0
    letter = min(singles, key=lambda letter: (-singles[letter], letter))
    return letter, singles[letter] / len(questions)


def _refuse_repeated(attempts: Sequence[Attempt], where: str) -> None:
    question_id, times = Counter(attempt.question.id for attempt in attempts).most_common(1)[0]
    if times > 1:
        raise DataError(f"question {question_id!r} has {times} attempts on {where}; score one attempt per question")
