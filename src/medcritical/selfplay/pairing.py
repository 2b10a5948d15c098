"""Which response is preferred to which: one item per question that was solved in any way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple

import msgspec

from medcritical.config.choices import Fallback
from medcritical.records import PreferencePair
from medcritical.selfplay.trials import Trial

Writer = Literal["teacher", "answer"]


class Contrast(NamedTuple):
    """A response and the wrong attempt that it is preferred to."""

    chosen: str
    rejected: str


Teach = Callable[[Trial], Contrast | None]
"""Who writes what is preferred in the student's place; None where nothing was written about a trial."""


def make_pairs(
    trials: list[Trial], *, fallback: Fallback, rng: Random, teach: Teach | None = None, origin: Writer = "teacher"
) -> tuple[list[PreferencePair], Counter[str]]:
    """Pairs and a count of what became of each question.

    With `teach`, what it gives is preferred, as of this `origin`. Else, where there is a verified correction, it is
    preferred to the attempt it corrects, though an own attempt may be right too (uniform allocation corrects every wrong
    attempt). A question solved by own attempts alone prefers a right one to a wrong one with `fallback: own`; with
    `fallback: drop`, with `teach`, or without a wrong one, the right one is chosen alone. A stubborn question is left out.
    """
    pairs, counts = [], Counter[str]()
    for trial in trials:
        pair = _pair(trial, fallback, rng) if teach is None else _taught(trial, teach, origin, rng)
        if pair is None:
            counts["stubborn"] += 1
            continue
        counts[f"{pair.origin}_{'alone' if pair.rejected is None else 'pair'}"] += 1
        pairs.append(pair)
    return pairs, counts


def corrector_examples(trials: list[Trial]) -> list[PreferencePair]:
    """Every verified correction as an example of how to correct, alone: the corrector in the loop learns from them."""
    return [
        PreferencePair(
            question=trial.question,
            chosen=item.written,
            rejected=None,
            origin="correction",
            is_chosen_sound=item.corrected.is_sound,
            corrects=item.wrong.text,
            from_step=item.from_step,
        )
        for trial in trials
        for item in trial.verified
    ]


def replayed(earlier: list[PreferencePair], *, since: int) -> list[PreferencePair]:
    """The pairs of iteration `since` and after."""
    return [pair for pair in earlier if pair.iteration >= since]


def stamped(pairs: list[PreferencePair], iteration: int) -> list[PreferencePair]:
    """The pairs as made by `iteration`."""
    return [msgspec.structs.replace(pair, iteration=iteration) for pair in pairs]


def _taught(trial: Trial, teach: Teach, origin: Writer, rng: Random) -> PreferencePair | None:
    contrast = teach(trial) if trial.wrong else None
    if contrast is not None:
        return PreferencePair(
            question=trial.question, chosen=contrast.chosen, rejected=contrast.rejected, origin=origin
        )
    return _alone(trial, rng) if trial.right else None


def _pair(trial: Trial, fallback: Fallback, rng: Random) -> PreferencePair | None:
    if trial.verified:
        correction = rng.choice(trial.verified)
        return PreferencePair(
            question=trial.question,
            chosen=correction.corrected.text,
            rejected=correction.wrong.text,
            origin="correction",
            is_chosen_sound=correction.corrected.is_sound,
        )
    if not trial.right:
        return None
    chosen = _alone(trial, rng)
    if trial.wrong and fallback is Fallback.own:
        return msgspec.structs.replace(chosen, rejected=rng.choice(trial.wrong).text)
    return chosen


def _alone(trial: Trial, rng: Random) -> PreferencePair:
    chosen = rng.choice(trial.right)
    return PreferencePair(
        question=trial.question, chosen=chosen.text, rejected=None, origin="own", is_chosen_sound=chosen.is_sound
    )
