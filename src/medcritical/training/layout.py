"""Padded or packed: how examples become micro-batches, and what a model needs to run on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import nn

from medcritical.batching import pack_row, pad_rows
from medcritical.batching.collate import Layout
from medcritical.batching.examples import AnyExample
from medcritical.batching.micro import MicroBatches, Steps, cut_by_examples, cut_by_tokens, fill_rows
from medcritical.config.choices import Batching
from medcritical.config.schema import TrainerConfig
from medcritical.modeling.fused import fused
from medcritical.modeling.packed import base_model, packed


def choose_layout(trainer: TrainerConfig, pad_id: int) -> Layout:
    """The function that lays sequences out."""
    return pack_row if trainer.batching is Batching.packed else partial(pad_rows, pad_id=pad_id)


def cut_steps(
    steps: Steps, examples: Sequence[AnyExample], trainer: TrainerConfig, num_processes: int = 1
) -> MicroBatches:
    """The micro-batches of every optimizer step, equally many in each; which examples a step holds is not changed.

    Process p of n has those at p, p + n, p + 2n ...: as many as every other.
    """
    if trainer.batching is Batching.packed:
        return cut_by_tokens(steps, examples, trainer.micro_batch_tokens, num_processes)
    return cut_by_examples(steps, examples, trainer.micro_batch_size, num_processes)


@contextmanager
def prepared(model: nn.Module, trainer: TrainerConfig, *, is_trained: bool) -> Iterator[None]:
    """Within the block, `model` runs on the trainer's layout and, if it is trained, as the trainer saves memory.

    Raises:
        ConfigError: the model cannot run on packed rows.
    """
    with ExitStack() as stack:
        if trainer.batching is Batching.packed:
            stack.enter_context(packed(model, is_trained=is_trained))
            if is_trained:
                stack.enter_context(fused(model))
        if trainer.gradient_checkpointing and is_trained:
            # Not reentrant: only this kind sees gradients where, as with adapters, the embeddings have none.
            base_model(model).activation_checkpointing_enable({"use_reentrant": False})
            stack.callback(base_model(model).activation_checkpointing_disable)
        yield


def cut_scoring(examples: Sequence[AnyExample], trainer: TrainerConfig) -> list[list[int]]:
    """Every example once, longest first, so that memory runs out at once or never; those of a question together."""
    if trainer.batching is Batching.packed:
        return fill_rows(examples, trainer.micro_batch_tokens)
    longest_first = sorted(range(len(examples)), key=lambda index: -examples[index].length)
    size = trainer.micro_batch_size
    return [longest_first[start : start + size] for start in range(0, len(examples), size)]
