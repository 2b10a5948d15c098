"""Which response is preferred to which: one item per question that was solved in any way."""

from __future__ import annotations

from collections import Counter
from random import Random

from medcritical.config.choices import Fallback
from medcritical.records import PreferencePair
from medcritical.selfplay.trials import Trial


def make_pairs(trials: list[Trial], *, fallback: Fallback, rng: Random) -> tuple[list[PreferencePair], Counter[str]]:
    """Pairs and a count of what became of each question.

    Where there is a verified correction, it is preferred to the attempt it corrects, though an own attempt may be
    right too (uniform allocation corrects every wrong attempt). A question solved by own attempts alone prefers a right
    one to a wrong one with `fallback: own`; with `fallback: drop`, or without a wrong one, the right one is chosen
    alone. A stubborn question is left out.
    """
    pairs, counts = [], Counter[str]()
    for trial in trials:
        pair = _pair(trial, fallback, rng)
        if pair is None:
            counts["stubborn"] += 1
            continue
        counts[f"{pair.origin}_{'alone' if pair.rejected is None else 'pair'}"] += 1
        pairs.append(pair)
    return pairs, counts


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
    if trial.right:
        chosen = rng.choice(trial.right)
        has_rejected = bool(trial.wrong) and fallback is Fallback.own
        return PreferencePair(
            question=trial.question,
            chosen=chosen.text,
            rejected=rng.choice(trial.wrong).text if has_rejected else None,
            origin="own",
            is_chosen_sound=chosen.is_sound,
        )
    return None
