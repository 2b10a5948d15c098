"""Held-out questions that are also in train, exactly or nearly.

Two questions are near when the character n-grams of their stems plus options have a Jaccard similarity
|A ∩ B| / |A ∪ B| of at least a threshold. The search is exact, by prefix filtering (Bayardo, Ma and Srikant, "Scaling
up all pairs similarity search", WWW 2007): order the n-grams from rare to common; sets whose similarity reaches t
share one of the first |A| - ceil(t |A|) + 1, so an index of those few n-grams finds every pair.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medcritical.data.duplicates import question_key
from medcritical.records import Question, Split

NEAR = 0.6
"""Jaccard similarity from which two questions are near: below it, pairs share wording rather than content."""

NGRAM = 5
"""Characters per n-gram, after spaces are removed and letters folded to lower case."""


@dataclass(frozen=True)
class Overlap:
    """A held-out question and the train question most like it."""

    heldout_id: str
    heldout_split: Split
    train_id: str
    similarity: float
    is_exact: bool
    has_same_answer: bool


@dataclass(frozen=True)
class ContaminationReport:
    """Overlaps of the held-out questions with train, at most one for each, the most similar first."""

    num_train: int
    num_heldout: int
    threshold: float
    overlaps: tuple[Overlap, ...]

    @property
    def num_exact(self) -> int:
        """Held-out questions whose stem and options are in train."""
        return sum(overlap.is_exact for overlap in self.overlaps)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "num_train": self.num_train,
            "num_heldout": self.num_heldout,
            "threshold": self.threshold,
            "num_exact": self.num_exact,
            "num_near": len(self.overlaps) - self.num_exact,
            "overlaps": [vars(overlap) for overlap in self.overlaps],
        }

    def lines(self, most: int = 10) -> list[str]:
        """The report for a terminal: totals and the first `most` overlaps."""
        near = len(self.overlaps) - self.num_exact
        shown = [
            f"  {overlap.similarity:.2f}  {overlap.heldout_split} {overlap.heldout_id!r} ~ train {overlap.train_id!r}"
            for overlap in self.overlaps[:most]
        ]
        return [f"{self.num_heldout} held-out questions: {self.num_exact} exactly, {near} nearly in train", *shown]


def find_contamination(
    questions: Iterable[Question], *, threshold: float = NEAR, ngram: int = NGRAM
) -> ContaminationReport:
    """Every dev or test question that has an exact or near copy in train.

    Raises:
        ValueError: `threshold` is not above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    pool = list(questions)
    train = [question for question in pool if question.split == "train"]
    heldout = [question for question in pool if question.split != "train"]
    index = _Index([_ngrams(question, ngram) for question in heldout], threshold)
    keys = [question_key(question) for question in heldout]
    best: dict[int, Overlap] = {}
    for question in train:
        key = question_key(question)
        for number, similarity in index.search(_ngrams(question, ngram)):
            overlap = _make_overlap(heldout[number], question, similarity, keys[number] == key)
            best[number] = max(best.get(number, overlap), overlap, key=lambda one: (one.is_exact, one.similarity))
    overlaps = sorted(best.values(), key=lambda one: (not one.is_exact, -one.similarity, one.heldout_id))
    return ContaminationReport(len(train), len(heldout), threshold, tuple(overlaps))


def find_near(
    questions: Sequence[Question], among: Sequence[Question], *, threshold: float | None, ngram: int = NGRAM
) -> set[int]:
    """Positions of the questions whose similarity to one of `among` is at least `threshold`, exact copies included.

    Without a threshold near ones are not looked for, as in `prepare`: exact copies alone.
    """
    if threshold is None:
        keys = set(map(question_key, among))
        return {number for number, question in enumerate(questions) if question_key(question) in keys}
    index = _Index([_ngrams(question, ngram) for question in among], threshold)
    return {number for number, question in enumerate(questions) if index.search(_ngrams(question, ngram))}


def near_pairs(
    questions: Sequence[Question], *, threshold: float = NEAR, ngram: int = NGRAM
) -> Iterator[tuple[int, int]]:
    """Positions of every two questions whose similarity is at least `threshold`, the lower first."""
    sets = [_ngrams(question, ngram) for question in questions]
    index = _Index(sets, threshold)
    for number, grams in enumerate(sets):
        yield from ((number, other) for other, _ in index.search(grams) if other > number)


def _make_overlap(heldout: Question, train: Question, similarity: float, is_exact: bool) -> Overlap:
    return Overlap(
        heldout_id=heldout.id,
        heldout_split=heldout.split,
        train_id=train.id,
        similarity=similarity,
        is_exact=is_exact,
        has_same_answer=sorted(heldout.answer_texts) == sorted(train.answer_texts),
    )


def _ngrams(question: Question, size: int) -> frozenset[str]:
    """The n-grams of stem and of each option; options are a set, so their order does not count."""
    grams: set[str] = set()
    for text in (question.stem, *question.options.values()):
        plain = "".join(text.split()).casefold()
        grams.update(plain[start : start + size] for start in range(max(1, len(plain) - size + 1)))
    return frozenset(grams)


class _Index:
    """Sets of n-grams, searchable by Jaccard similarity."""

    def __init__(self, sets: Sequence[frozenset[str]], threshold: float) -> None:
        self._sets = sets
        self._threshold = threshold
        self._counts = Counter(gram for grams in sets for gram in grams)
        self._by_gram: dict[str, list[int]] = defaultdict(list)
        for number, grams in enumerate(sets):
            for gram in self._prefix(grams):
                self._by_gram[gram].append(number)

    def _prefix(self, grams: frozenset[str]) -> list[str]:
        # n-grams that no indexed set has count 0 and come first, so a set full of them is dismissed at once.
        # 0.7 * 10 is a little over 7 in binary, hence the 1e-9.
        length = len(grams) - math.ceil(self._threshold * len(grams) - 1e-9) + 1
        return sorted(grams, key=lambda gram: (self._counts[gram], gram))[:length]

    def search(self, grams: frozenset[str]) -> list[tuple[int, float]]:
        """Numbers of the indexed sets at or above the threshold, with their similarity."""
        candidates = {number for gram in self._prefix(grams) for number in self._by_gram.get(gram, ())}
        scored = ((number, self._similarity(grams, self._sets[number])) for number in sorted(candidates))
        return [(number, similarity) for number, similarity in scored if similarity >= self._threshold]

    @staticmethod
    def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
        shared = len(one & other)
        return shared / (len(one) + len(other) - shared)
