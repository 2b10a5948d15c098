"""Pairs that are left out, and the counts of why."""

from collections.abc import Callable

import pytest

from medcritical.config.schema import FilterConfig
from medcritical.records import Attempt, PreferencePair
from medcritical.selfplay.filters import filter_pairs

Make = Callable[..., Attempt]
OPEN = FilterConfig(max_overlap=None, max_length_ratio=None, duplicates=True)


@pytest.fixture
def pair(attempt: Make) -> Callable[..., PreferencePair]:
    def make(chosen: str, rejected: str | None) -> PreferencePair:
        return PreferencePair(question=attempt().question, chosen=chosen, rejected=rejected, origin="own")

    return make


def kept(pairs: list[PreferencePair], **changes: object) -> tuple[list[int], dict[str, int]]:
    """Places of the pairs that pass, and what was taken out."""
    passed, counts = filter_pairs(pairs, FilterConfig(**{**vars(OPEN), **changes}))  # type: ignore[arg-type]
    return [place for place, pair in enumerate(pairs) if any(pair is item for item in passed)], dict(counts)


def test_filters_by_hand(pair: Callable[..., PreferencePair]) -> None:
    pairs = [
        pair("a b c d", "a b x y"),  # half in common
        pair("a b c d", "a b c y"),  # three quarters
        pair("a b c d e f", "x y"),  # three words per word
        pair("a b c d", "a b x y"),  # the first again
        pair("a b c d", None),
        pair("a b c d", None),
    ]
    assert kept(pairs) == ([0, 1, 2, 3, 4, 5], {})
    assert kept(pairs, max_overlap=0.5) == ([0, 2, 3, 4, 5], {"overlap": 1})
    assert kept(pairs, max_length_ratio=2.9) == ([0, 1, 3, 4, 5], {"length": 1})
    assert kept(pairs, max_length_ratio=3.0) == ([0, 1, 2, 3, 4, 5], {})
    assert kept(pairs, duplicates=False) == ([0, 1, 2, 4, 5], {"duplicate": 1})
    everything = kept(pairs, max_overlap=0.5, max_length_ratio=2.0, duplicates=False)
    assert everything == ([0, 4, 5], {"overlap": 1, "length": 1, "duplicate": 1})


def test_length_is_looked_at_both_ways_and_in_chinese(pair: Callable[..., PreferencePair]) -> None:
    assert kept([pair("x", "a b c")], max_length_ratio=2.0) == ([], {"length": 1})
    assert kept([pair("选择阿司匹林", "选择")], max_length_ratio=2.0) == ([], {"length": 1})
    assert kept([pair("选择阿司匹林", "选择地高辛片")], max_length_ratio=2.0) == ([0], {})


def test_what_was_left_out_is_no_earlier_pair(pair: Callable[..., PreferencePair]) -> None:
    same = [pair("a b", "a b"), pair("a b", "a b")]
    assert kept(same, max_overlap=0.9, duplicates=False) == ([], {"overlap": 2})
