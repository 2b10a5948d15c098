"""The pair-quality report: what an iteration's pairs are made of, before anything is trained on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from medcritical.records import Attempt, PreferencePair
from medcritical.selfplay.trials import Trial

MALFORMED_ALARM = 1 / 3  # share; our choice

_WORD = re.compile(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")


def pair_quality(trials: list[Trial], pairs: list[PreferencePair], stubborn: int) -> dict[str, Any]:
    """Counts of pools and pairs, lengths (words), overlap (share of words in common), duplicates, sound chosen.

    Args:
        pairs: what is trained on; `made_of` counts it by origin.
        stubborn: questions of which nothing could be made; in `made_of` too.
    """
    contrasts = [(pair.chosen, pair.rejected) for pair in pairs if pair.rejected is not None]
    sound = [pair.is_chosen_sound for pair in pairs if pair.is_chosen_sound is not None]
    made_of = Counter(f"{pair.origin}_{'alone' if pair.rejected is None else 'pair'}" for pair in pairs)
    tried = [item for trial in trials for item in trial.corrections]
    report: dict[str, Any] = {
        "questions": len(trials),
        "pools": dict(Counter(trial.pool for trial in trials)),
        "pairs": len(contrasts),
        "chosen_alone": len(pairs) - len(contrasts),
        "made_of": dict(made_of + Counter(stubborn=stubborn)),
        "corrections_tried": len(tried),
        "corrections_verified": sum(item.corrected.is_correct for item in tried),
        "malformed_attempts": sum(not attempt.is_well_formed for trial in trials for attempt in trial.attempts),
        "duplicate_pairs": len(contrasts) - len(set(contrasts)),
        "sound_chosen": fmean(sound) if sound else None,
    }
    if contrasts:
        report["chosen_words"] = fmean(num_words(chosen) for chosen, _ in contrasts)
        report["rejected_words"] = fmean(num_words(rejected) for _, rejected in contrasts)
        report["length_gap_words"] = report["chosen_words"] - report["rejected_words"]
        report["overlap"] = fmean(overlap(chosen, rejected) for chosen, rejected in contrasts)
    return report


def format_collapse(attempts: Sequence[Attempt]) -> str | None:
    """A sentence when more than MALFORMED_ALARM of a trained student's responses break the template's form, else None."""
    malformed = sum(not attempt.is_well_formed for attempt in attempts)
    if malformed <= MALFORMED_ALARM * len(attempts):
        return None
    return (
        f"Format collapse: {malformed} of {len(attempts)} responses break the template's form (alarm at {MALFORMED_ALARM:.0%}). "
        "Train stage 1 longer, raise max_new_tokens if they are cut, or lower dpo.learning_rate."
    )


def words_of(text: str) -> list[str]:
    """Words of a response in any mixture of scripts: what spaces part, and each ideograph by itself."""
    return _WORD.findall(text)


def num_words(text: str) -> int:
    """How many words a response has."""
    return len(words_of(text))


def overlap(chosen: str, rejected: str) -> float:
    """Share of words (multiset) that two responses have in common, 0 to 1."""
    left, right = (Counter(words_of(text)) for text in (chosen, rejected))
    total = max(left.total(), right.total())
    return (left & right).total() / total if total else 1.0
