"""The training order: invariants over generated sizes."""

from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.batching import num_steps, step_batches
from medcritical.errors import TrainingError

sizes = st.fixed_dictionaries(
    {"batch_size": st.integers(1, 12), "steps": st.integers(1, 40), "seed": st.integers(0, 5)}
)
some_prompts = st.lists(st.integers(1, 20), min_size=1, max_size=60)


@given(prompts=some_prompts, size=sizes)
def test_every_step_is_full(prompts: list[int], size: dict[str, int]) -> None:
    order = step_batches(prompts, **size)
    assert [len(step) for step in order] == [size["batch_size"]] * size["steps"]


@given(prompts=some_prompts, size=sizes)
def test_no_example_is_favoured(prompts: list[int], size: dict[str, int]) -> None:
    uses = Counter(index for step in step_batches(prompts, **size) for index in step)
    assert max(uses.values()) - min(uses[index] for index in range(len(prompts))) <= 1


@given(prompts=some_prompts, size=sizes)
def test_a_step_repeats_an_example_only_across_passes(prompts: list[int], size: dict[str, int]) -> None:
    for step in step_batches(prompts, **size):
        # A batch touches this many passes at most, and a pass holds every example once.
        passes = -(-(size["batch_size"] - 1) // len(prompts)) + 1
        assert max(Counter(step).values()) <= passes


@given(prompts=some_prompts, seed=st.integers(0, 5))
def test_examples_of_a_question_come_one_after_the_other(prompts: list[int], seed: int) -> None:
    (step,) = step_batches(prompts, batch_size=len(prompts), steps=1, seed=seed)
    assert sorted(step) == list(range(len(prompts)))
    runs = [prompt for prompt, _ in groupby(step, key=prompts.__getitem__)]
    assert len(runs) == len(set(prompts))


def test_questions_come_in_another_order_each_pass() -> None:
    one, two, three = step_batches(range(30), batch_size=30, steps=3, seed=0)
    assert sorted(one) == sorted(two) == sorted(three) == list(range(30))
    assert list(range(30)) != one != two != three != one


def test_the_seed_decides() -> None:
    one, same, other = (step_batches(range(64), batch_size=8, steps=20, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_nothing_to_train_on() -> None:
    with pytest.raises(TrainingError, match="nothing to train on"):
        step_batches([], batch_size=2, steps=1, seed=0)


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
