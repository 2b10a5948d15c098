"""What has been tried on each question of an iteration, and who is tried next."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Literal

import msgspec

from medcritical.records import Attempt, Correction, Question

Pool = Literal["solved", "corrected", "stubborn"]


@dataclass
class Trial:
    """One question with its attempts and corrections so far."""

    question: Question
    attempts: list[Attempt] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)

    @property
    def right(self) -> list[Attempt]:
        """Own right attempts in strict form."""
        return [attempt for attempt in self.attempts if attempt.is_correct and attempt.is_well_formed]

    @property
    def wrong(self) -> list[Attempt]:
        """Distinct wrong attempts in strict form; malformed ones would teach format, not medicine."""
        found = {attempt.text: attempt for attempt in self.attempts if attempt.is_well_formed and attempt.is_wrong}
        return list(found.values())

    @property
    def verified(self) -> list[Correction]:
        """Corrections whose new answer is right, in strict form."""
        return [item for item in self.corrections if item.corrected.is_correct and item.corrected.is_well_formed]

    @property
    def tried_in_vain(self) -> str:
        """Letters of wrong answers, sorted; those of a question with several right letters tell nothing about one alone.

        The right letter is none of them, though a judge or the reasoning may have found an answer that names it wrong.
        """
        if len(self.question.answer) > 1:
            return ""
        letters = {attempt.letters for attempt in self.wrong if attempt.letters and len(attempt.letters) == 1}
        return "".join(sorted(letters - {self.question.answer}))

    @property
    def pool(self) -> Pool:
        """solved by an own attempt, corrected by a correction, or stubborn."""
        if self.right:
            return "solved"
        return "corrected" if self.verified else "stubborn"

    @property
    def student_tokens(self) -> int:
        """Tokens that the student wrote on this question."""
        attempts = sum(attempt.completion_tokens for attempt in self.attempts)
        return attempts + sum(item.corrected.completion_tokens for item in self.corrections)


def unsolved(trials: list[Trial], *, needs_wrong: bool) -> list[Trial]:
    """Trials that a further round may help. A correction needs a wrong attempt in strict form to correct."""
    return [trial for trial in trials if trial.pool == "stubborn" and (trial.wrong or not needs_wrong)]


def within_budget(waiting: list[Trial], *, tokens_left: int, tokens_each: float) -> list[Trial]:
    """The first of `waiting` that the rest of the budget pays for, at the mean length of a try so far."""
    return waiting[: max(0, int(tokens_left // max(tokens_each, 1.0)))]


def without_tried(trial: Trial) -> Question:
    """The question without the options that were tried in vain; as it is where fewer than two would be left."""
    left = {letter: text for letter, text in trial.question.options.items() if letter not in trial.tried_in_vain}
    return msgspec.structs.replace(trial.question, options=left) if len(left) >= 2 else trial.question


def choose_wrong(trial: Trial, rng: Random) -> Attempt:
    """The wrong attempt that this round corrects."""
    return rng.choice(trial.wrong)


def pools_of(trials: list[Trial]) -> dict[Pool, list[str]]:
    """Ids of the questions in each pool."""
    pools: dict[Pool, list[str]] = {"solved": [], "corrected": [], "stubborn": []}
    for trial in trials:
        pools[trial.pool].append(trial.question.id)
    return pools


def trials_of(attempts: list[Attempt], corrections: list[Correction]) -> list[Trial]:
    """Trials by question, in the order of first attempts: what `play` wrote, put together again."""
    trials: dict[str, Trial] = {}
    for attempt in attempts:
        trials.setdefault(attempt.question.id, Trial(attempt.question)).attempts.append(attempt)
    for item in corrections:
        trials[item.wrong.question.id].corrections.append(item)
    return list(trials.values())
