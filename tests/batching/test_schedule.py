"""The training order: invariants over generated sizes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.batching import num_steps, step_batches
from medcritical.batching.schedule import WINDOW_STEPS
from medcritical.errors import TrainingError

sizes = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 12),
        "micro_batch_size": st.integers(1, 15),
        "steps": st.integers(1, 40),
        "seed": st.integers(0, 5),
    }
)
some_lengths = st.lists(st.integers(1, 99), min_size=1, max_size=60)


def flat(step: list[list[int]]) -> list[int]:
    return [index for micro in step for index in micro]


@given(lengths=some_lengths, size=sizes)
def test_every_step_is_full_and_cut_alike(lengths: list[int], size: dict[str, int]) -> None:
    order = step_batches(lengths, **size)
    assert len(order) == size["steps"]
    for step in order:
        assert len(flat(step)) == size["batch_size"]
        assert [len(micro) for micro in step] == [len(micro) for micro in order[0]]
        assert all(0 < len(micro) <= size["micro_batch_size"] for micro in step)


@given(lengths=some_lengths, size=sizes)
def test_no_example_is_favoured(lengths: list[int], size: dict[str, int]) -> None:
    uses = Counter(index for step in step_batches(lengths, **size) for index in flat(step))
    assert max(uses.values()) - min(uses[index] for index in range(len(lengths))) <= 1


@given(lengths=some_lengths, size=sizes)
def test_a_step_repeats_an_example_only_across_passes(lengths: list[int], size: dict[str, int]) -> None:
    for step in step_batches(lengths, **size):
        # A batch touches this many passes at most, and a pass holds every example once.
        passes = -(-(size["batch_size"] - 1) // len(lengths)) + 1
        assert max(Counter(flat(step)).values()) <= passes


@given(lengths=some_lengths, size=sizes, other=st.integers(1, 15))
def test_micro_batch_size_does_not_change_what_a_step_holds(
    lengths: list[int], size: dict[str, int], other: int
) -> None:
    one, two = step_batches(lengths, **size), step_batches(lengths, **{**size, "micro_batch_size": other})
    assert [flat(step) for step in one] == [flat(step) for step in two]


def test_first_pass_is_complete_when_it_fits_a_window() -> None:
    order = step_batches([5] * 48, batch_size=8, micro_batch_size=8, steps=6, seed=3)
    assert sorted(index for step in order for index in flat(step)) == list(range(48))


def test_the_seed_decides() -> None:
    lengths = list(range(10, 74))
    one, same, other = (step_batches(lengths, batch_size=8, micro_batch_size=4, steps=20, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_micro_batches_hold_examples_of_similar_length() -> None:
    lengths = [20 + (37 * index) % 200 for index in range(WINDOW_STEPS * 16)]
    order = step_batches(lengths, batch_size=16, micro_batch_size=4, steps=WINDOW_STEPS, seed=0)
    micros = [micro for step in order for micro in step]
    padded = sum(len(micro) * max(lengths[index] for index in micro) for micro in micros)
    assert padded / sum(lengths) < 1.02


def test_steps_are_not_run_in_order_of_length() -> None:
    lengths = list(range(256))
    order = step_batches(lengths, batch_size=16, micro_batch_size=16, steps=16, seed=0)
    means = [sum(flat(step)) / 16 for step in order]
    assert means != sorted(means)


def test_nothing_to_train_on() -> None:
    with pytest.raises(TrainingError, match="nothing to train on"):
        step_batches([], batch_size=2, micro_batch_size=2, steps=1, seed=0)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "epochs", "steps", "expected"),
    [
        (100, 10, 2.0, None, 20),
        (101, 10, 1.0, None, 11),
        (30, 1, 0.1, None, 3),
        (3, 16, 1.0, None, 1),
        (3, 16, None, 7, 7),
    ],
)
def test_num_steps(num_examples: int, batch_size: int, epochs: float | None, steps: int | None, expected: int) -> None:
    assert num_steps(num_examples, batch_size, epochs, steps) == expected


@pytest.mark.parametrize(("epochs", "steps"), [(None, None), (1.0, 5)])
def test_num_steps_wants_exactly_one(epochs: float | None, steps: int | None) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        num_steps(10, 2, epochs, steps)
