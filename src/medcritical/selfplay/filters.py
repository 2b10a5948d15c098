"""Pairs that are better not trained on, taken out with a count of why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from medcritical.config.schema import FilterConfig
from medcritical.records import PreferencePair
from medcritical.selfplay.quality import num_words, overlap


def filter_pairs(pairs: Iterable[PreferencePair], config: FilterConfig) -> tuple[list[PreferencePair], Counter[str]]:
    """The pairs that pass, in order, and how many each filter took out; the first that applies takes the blame.

    Only contrasts are looked at: a chosen response alone always passes.
    """
    kept, taken_out = [], Counter[str]()
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        reason = None if pair.rejected is None else _fault(pair.chosen, pair.rejected, config, seen)
        if reason is not None:
            taken_out[reason] += 1
            continue
        if pair.rejected is not None:
            seen.add((pair.chosen, pair.rejected))
        kept.append(pair)
    return kept, taken_out


def _fault(chosen: str, rejected: str, config: FilterConfig, seen: set[tuple[str, str]]) -> str | None:
    if not config.duplicates and (chosen, rejected) in seen:
        return "duplicate"
    if config.max_overlap is not None and overlap(chosen, rejected) > config.max_overlap:
        return "overlap"
    lengths = sorted((num_words(chosen), num_words(rejected)))
    if config.max_length_ratio is not None and lengths[1] > config.max_length_ratio * max(lengths[0], 1):
        return "length"
    return None
