"""The whole training order, as a pure function of lengths and seed.

Knowing it up front makes the order independent of how loaders shuffle, equal for every micro-batch size, and lets a
step know its normaliser before its first forward pass.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from medcritical.errors import TrainingError

WINDOW_STEPS = 16
"""Optimizer steps sorted by length together: enough for little padding, few enough to keep the order random."""


def num_steps(num_examples: int, batch_size: int, epochs: float | None, steps: int | None) -> int:
    """Optimizer steps of a training: `steps`, or as many as `epochs` passes over the examples need (rounded up).

    Raises:
        ValueError: unless exactly one of `epochs` and `steps` is given.
    """
    if (epochs is None) == (steps is None):
        raise ValueError(f"give exactly one of epochs and steps, not epochs={epochs} and steps={steps}")
    if steps is not None:
        return steps
    assert epochs is not None
    # 0.1 * 30 is 3.0000000000000004: rounding error must not cost a step.
    return max(1, math.ceil(round(epochs * num_examples / batch_size, 6)))


def step_batches(
    lengths: Sequence[int], *, batch_size: int, micro_batch_size: int, steps: int, seed: int
) -> list[list[list[int]]]:
    """Indices of examples per optimizer step, per micro-batch.

    Every step holds exactly `batch_size` examples and is cut into the same number of micro-batches, the last one
    smaller where `batch_size` is no multiple. Over all steps no example is used more than once more often than
    another. Which examples share a step does not depend on `micro_batch_size`.

    Args:
        lengths: tokens of each example.

    Raises:
        TrainingError: there are no examples.
    """
    if not lengths:
        raise TrainingError("There is nothing to train on: no example is left. Use more questions or a larger budget.")
    order = random.Random(seed)
    stream = _passes(len(lengths), steps * batch_size, order)
    window = WINDOW_STEPS * batch_size
    batches: list[list[int]] = []
    for start in range(0, len(stream), window):
        # By pass first: sorted by length alone, copies of one example from several passes would meet in one step.
        examples = [i for _, i in sorted(stream[start : start + window], key=lambda use: (use[0], lengths[use[1]]))]
        window_batches = _cut(examples, batch_size)
        order.shuffle(window_batches)
        batches += window_batches
    return [_cut(batch, micro_batch_size) for batch in batches]


def _passes(num_examples: int, num_uses: int, order: random.Random) -> list[tuple[int, int]]:
    """The first `num_uses` entries of an endless stream of permutations, as (pass, index)."""
    stream: list[tuple[int, int]] = []
    for number in range(math.ceil(num_uses / num_examples)):
        permutation = list(range(num_examples))
        order.shuffle(permutation)
        stream += [(number, index) for index in permutation]
    return stream[:num_uses]


def _cut(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
