"""How steps are cut into micro-batches: invariants over generated questions, and cases by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.batching import Example, PairExample
from medcritical.batching.examples import prompt_key
from medcritical.batching.micro import cut_by_examples, cut_by_tokens, fill_rows, tokens_of
from medcritical.errors import TrainingError

some_ids = st.lists(st.integers(0, 2), min_size=1, max_size=9)


@st.composite
def some_pairs(draw: st.DrawFn) -> list[PairExample]:
    """Pairs of a few questions, with few tokens, so that responses repeat."""
    prompts = draw(st.lists(some_ids, min_size=1, max_size=5))
    pairs = []
    for _ in range(draw(st.integers(2, 14))):
        rejected = draw(st.none() | some_ids)
        logp = None if rejected is None else -1.0
        pairs.append(PairExample(draw(st.sampled_from(prompts)), draw(some_ids), rejected, logp, logp))
    return pairs


def halves(pairs: list[PairExample]) -> list[list[int]]:
    """Two steps of the same size."""
    size = len(pairs) // 2
    return [list(range(size)), list(range(size, 2 * size))]


@given(pairs=some_pairs(), max_tokens=st.integers(1, 120))
def test_micro_batches_keep_the_step_and_the_budget(pairs: list[PairExample], max_tokens: int) -> None:
    steps = halves(pairs)
    cut = cut_by_tokens(steps, pairs, max_tokens)
    assert [sorted(index for micro in step for index in micro) for step in cut] == steps
    assert len({len(step) for step in cut}) == 1
    for step in cut:
        for micro in step:
            assert micro
            # Only a pair, which cannot be divided, may be over the budget; then no other fits beside it.
            lone = max(tokens_of([index], pairs) for index in micro)
            assert tokens_of(micro, pairs) <= max(max_tokens, lone, *(tokens_of([i], pairs) for s in steps for i in s))


@given(pairs=some_pairs(), max_tokens=st.integers(20, 120))
def test_a_question_is_divided_only_for_the_budget(pairs: list[PairExample], max_tokens: int) -> None:
    (step,) = cut_by_tokens([list(range(len(pairs)))], pairs, max_tokens)
    for prompt in {prompt_key(pair) for pair in pairs}:
        of_prompt = [index for index, pair in enumerate(pairs) if prompt_key(pair) == prompt]
        if tokens_of(of_prompt, pairs) <= max_tokens:
            assert sum(any(index in micro for index in of_prompt) for micro in step) == 1


@given(pairs=some_pairs(), max_tokens=st.integers(1, 120), num_processes=st.integers(1, 4))
def test_every_process_has_as_many(pairs: list[PairExample], max_tokens: int, num_processes: int) -> None:
    steps = halves(pairs)
    if len(steps[0]) < num_processes:
        with pytest.raises(TrainingError, match="cannot be dealt out"):
            cut_by_tokens(steps, pairs, max_tokens, num_processes)
        return
    cut = cut_by_tokens(steps, pairs, max_tokens, num_processes)
    assert {len(step) % num_processes for step in cut} == {0}
    assert all(micro for step in cut for micro in step)


def test_three_attempts_and_one_correction_share_a_row() -> None:
    pairs = [PairExample([1, 2], [5] * 4, [number] * 3, 0.0, 0.0) for number in (6, 7, 8)]
    assert tokens_of([0, 1, 2], pairs) == 2 + 4 + 3 * 3  # the prompt and the correction once
    assert cut_by_tokens([[0, 1, 2]], pairs, 15) == [[[0, 1, 2]]]
    # At 12 tokens two pairs fit; the third takes the prompt and the correction along.
    assert sorted(map(len, cut_by_tokens([[0, 1, 2]], pairs, 14)[0])) == [1, 2]


def test_micro_batches_are_balanced() -> None:
    examples = [Example([number], [1] * length) for number, length in enumerate((19, 9, 9, 9, 9, 4))]
    (step,) = cut_by_tokens([list(range(6))], examples, 40)  # 20 + 4 * 10 + 5 tokens
    assert sorted(tokens_of(micro, examples) for micro in step) == [30, 35]


def test_the_largest_step_decides_for_all() -> None:
    examples = [Example([number], [1] * length) for number, length in enumerate((9, 9, 9, 1, 1, 1))]
    cut = cut_by_tokens([[0, 1, 2], [3, 4, 5]], examples, 10)
    assert [len(step) for step in cut] == [3, 3]


def test_by_examples_rows_of_like_length_are_together() -> None:
    examples = [Example([1], [1] * length) for length in (9, 2, 8, 1, 7)]
    assert cut_by_examples([[0, 1, 2, 3, 4]], examples, 2) == [[[3, 1], [4, 2], [0]]]


@given(pairs=some_pairs(), max_tokens=st.integers(1, 120))
def test_filled_rows_hold_every_example_once(pairs: list[PairExample], max_tokens: int) -> None:
    rows = fill_rows(pairs, max_tokens)
    assert Counter(index for row in rows for index in row) == Counter(range(len(pairs)))
    for row in rows:
        assert tokens_of(row, pairs) <= max(max_tokens, *(tokens_of([index], pairs) for index in row))
