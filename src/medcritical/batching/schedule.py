"""Which examples each optimizer step holds, as a pure function of prompts and seed.

Knowing it up front makes the order independent of how loaders shuffle, equal for every layout and micro-batch, and
lets a step know its normaliser before its first forward pass.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Sequence

from medcritical.errors import TrainingError


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


def step_batches(prompts: Sequence[Hashable], *, batch_size: int, steps: int, seed: int) -> list[list[int]]:
    """Indices of examples per optimizer step.

    Every step holds exactly `batch_size` examples, and over all steps no example is used more than once more often
    than another. Questions come in random order, but the examples of a question come one after the other: a packed
    row then computes their prompt, and the correction that several wrong attempts share, once. What it costs in
    randomness is that a step holds fewer questions than pairs, where a question has several.

    Args:
        prompts: what tells the question of each example apart.

    Raises:
        TrainingError: there are no examples.
    """
    if not prompts:
        raise TrainingError("There is nothing to train on: no example is left. Use more questions or a larger budget.")
    questions: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        questions.setdefault(prompt, []).append(index)
    order = random.Random(seed)
    stream: list[int] = []
    while len(stream) < steps * batch_size:
        stream += _one_pass(list(questions.values()), order)
    return [stream[step * batch_size : (step + 1) * batch_size] for step in range(steps)]


def _one_pass(questions: list[list[int]], order: random.Random) -> list[int]:
    """Every example once, question by question."""
    shuffled = order.sample(questions, len(questions))
    return [index for examples in shuffled for index in order.sample(examples, len(examples))]
