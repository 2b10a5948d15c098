"""Contamination: every pair over the threshold is found, and no other."""

import random

import msgspec
import pytest

from medcritical.data.contamination import _ngrams, find_contamination, find_near
from medcritical.records import Question, Split


def make(id: str, stem: str, options: list[str], split: Split, answer: str = "A") -> Question:
    return Question(
        id=id,
        stem=stem,
        options=dict(zip("ABCDE", options, strict=False)),
        answer=answer,
        language="en",
        split=split,
        source="s",
    )


def test_hand_worked_similarity() -> None:
    # 3-grams: {abc bcd cde, x, y} and {abc bcd cdf, x, y}: 4 shared of 6.
    questions = [make("1", "abcde", ["x", "y"], "train"), make("2", "ab cdf", ["y", "x"], "test")]
    (overlap,) = find_contamination(questions, threshold=0.6, ngram=3).overlaps
    assert overlap.similarity == pytest.approx(4 / 6)
    assert (overlap.heldout_id, overlap.train_id, overlap.is_exact, overlap.has_same_answer) == ("2", "1", False, False)
    assert find_contamination(questions, threshold=0.67, ngram=3).overlaps == ()


def test_copy_with_other_letters_is_exact() -> None:
    train = make("1", "Which drug is first choice?", ["aspirin", "heparin"], "train", "B")
    near = make("2", "Which drug is first choice ?", ["heparin", "Aspirin"], "dev")
    same = make("3", "Which drug is  first choice?", ["heparin", "aspirin"], "test")
    report = find_contamination([train, near, same])
    assert [(overlap.heldout_id, overlap.is_exact) for overlap in report.overlaps] == [("3", True), ("2", False)]
    assert report.overlaps[0].has_same_answer
    assert (report.num_train, report.num_heldout, report.num_exact) == (1, 2, 1)
    assert report.to_dict()["num_near"] == 1
    assert report.lines()[0] == "2 held-out questions: 1 exactly, 1 nearly in train"


def test_train_is_not_compared_with_itself() -> None:
    copy = make("1", "Which drug?", ["aspirin", "heparin"], "train")
    assert find_contamination([copy, msgspec.structs.replace(copy, id="2")]).overlaps == ()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 1.0])
def test_prefix_filter_finds_what_comparing_all_pairs_finds(threshold: float) -> None:
    draw = random.Random(0)
    questions = []
    for number in range(120):
        stem = "".join(draw.choice("abc") for _ in range(draw.randint(3, 14)))
        questions.append(make(str(number), stem, ["xx", "yyy"], "train" if number % 2 else "test"))
    grams = {question.id: _ngrams(question, 2) for question in questions}
    expected = {}
    for heldout in questions[::2]:
        scores = [
            len(grams[heldout.id] & grams[train.id]) / len(grams[heldout.id] | grams[train.id])
            for train in questions[1::2]
        ]
        if max(scores) >= threshold:
            expected[heldout.id] = max(scores)
    report = find_contamination(questions, threshold=threshold, ngram=2)
    # An exact copy wins over an equally similar one; both have similarity 1.
    assert {overlap.heldout_id: overlap.similarity for overlap in report.overlaps} == pytest.approx(expected)
    assert expected


@pytest.mark.parametrize(("threshold", "found"), [(0.6, {0, 1}), (0.67, {0}), (None, {0})])
def test_near_ones_are_found_by_the_same_rule(threshold: float | None, found: set[int]) -> None:
    among = [make("1", "ab cde", ["y", "x"], "test")]
    asked = [make("2", "abcde", ["x", "y"], "train"), make("3", "abcdf", ["x", "y"], "train")]
    others = [make("4", "vwxyz", ["x", "y"], "train")]
    assert find_near([*asked, *others], among, threshold=threshold, ngram=3) == found
    assert find_near(asked, [], threshold=threshold) == set()


def test_threshold_must_be_a_similarity() -> None:
    with pytest.raises(ValueError, match="threshold"):
        find_contamination([], threshold=0)
