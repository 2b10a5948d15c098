"""Which response is preferred to which: right responses to a question and its distinct wrong attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from random import Random
from typing import Literal, NamedTuple

import msgspec

from medcritical.config.choices import Fallback, PairWeight
from medcritical.records import Attempt, PreferencePair
from medcritical.selfplay.trials import Trial


class Contrast(NamedTuple):
    """A response and the wrong attempt that it is preferred to; None where it is chosen alone."""

    chosen: str
    rejected: str | None
    origin: Literal["correction", "own", "teacher", "answer"]
    is_chosen_sound: bool | None = None


Contrasts = Callable[[Trial], list[Contrast]]
"""The distinct contrasts of a trial, the one in front that is taken where one is enough; empty where it has none."""


def make_pairs(
    trials: Sequence[Trial], contrasts: Contrasts, *, per_question: int | None, rng: Random
) -> tuple[list[PreferencePair], Counter[str]]:
    """At most `per_question` pairs of each trial (None: all its contrasts), and counts of pairs by origin.

    Without a contrast a right attempt is chosen alone; a question without that either is stubborn, left out and counted.
    Further pairs of a question are drawn when the first ones of all are, so that these are the same for any `per_question`.
    """
    found = [(trial, contrasts(trial) or _alone(trial, rng)) for trial in trials]
    pairs, counts = [], Counter[str]()
    for trial, items in found:
        if not items:
            counts["stubborn"] += 1
            continue
        others = items[1:] if per_question is None else rng.sample(items[1:], min(per_question, len(items)) - 1)
        for item in (items[0], *others):
            counts[f"{item.origin}_{'alone' if item.rejected is None else 'pair'}"] += 1
            pairs.append(PreferencePair(question=trial.question, **item._asdict()))
    return pairs, counts


def student_contrasts(trial: Trial, fallback: Fallback, rng: Random) -> list[Contrast]:
    """Verified corrections against wrong attempts, in front one against the attempt that it corrects.

    Corrections go before own right attempts (uniform allocation corrects every wrong attempt, of solved questions too).
    Where none is verified, own right attempts stand against wrong ones with `fallback: own`, and with `drop` nothing does.
    """
    if trial.verified:
        drawn = rng.choice(trial.verified)
        right, first = [item.corrected for item in trial.verified], (drawn.corrected, drawn.wrong)
        return _crossed(right, trial.wrong, first, "correction")
    if trial.right and trial.wrong and fallback is Fallback.own:
        return _crossed(trial.right, trial.wrong, (rng.choice(trial.right), rng.choice(trial.wrong)), "own")
    return []


def drawn_first(wrong: Sequence[str], first: str) -> list[str]:
    """The texts with `first` in front."""
    return list(dict.fromkeys((first, *wrong)))


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


def pair_weights(pairs: Sequence[PreferencePair], weight: PairWeight) -> list[float]:
    """What each pair counts in the loss: 1, or such a share of it that those of a question and iteration weigh 1 together.

    Examples for the corrector, of which a question may have several, share a weight of their own.
    """
    if weight is PairWeight.per_pair:
        return [1.0] * len(pairs)
    questions = [(pair.iteration, pair.question.id, pair.corrects is None) for pair in pairs]
    sizes = Counter(questions)
    return [1 / sizes[question] for question in questions]


def _crossed(
    right: Sequence[Attempt],
    wrong: Sequence[Attempt],
    first: tuple[Attempt, Attempt],
    origin: Literal["correction", "own"],
) -> list[Contrast]:
    """Every right response against every wrong one, `first` in front, equal texts once."""
    crossed = (first, *product(right, wrong))
    found = {(good.text, bad.text): Contrast(good.text, bad.text, origin, good.is_sound) for good, bad in crossed}
    return list(found.values())


def _alone(trial: Trial, rng: Random) -> list[Contrast]:
    if not trial.right:
        return []
    chosen = rng.choice(trial.right)
    return [Contrast(chosen.text, None, "own", chosen.is_sound)]
