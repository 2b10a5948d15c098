"""The batch of one forward pass: rows in either layout, and which of their sequences the examples are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from medcritical.batching.examples import Example, PairExample
from medcritical.batching.rows import Rows, Sequences

BatchT = TypeVar("BatchT", bound="Batch")

Layout = Callable[[Sequences], tuple[Rows, list[int]]]
"""Lays sequences out for one forward pass; returns the rows, and the index of each sequence given into those of S.

`pack_row`, or `pad_rows` with its padding token.
"""


@dataclass(frozen=True)
class Batch:
    """What one forward pass sees. Legend: S sequences in the rows, B examples, C examples with a rejected response.

    Attributes:
        rows: the sequences, padded or packed.
        num_tokens: tokens of the examples' sequences, each with its prompt: the same for every layout.
        normaliser: what the loss of the whole optimizer step is divided by.
    """

    rows: Rows
    num_tokens: int
    normaliser: float

    def to(self: BatchT, device: torch.device | str) -> BatchT:
        """This batch with its tensors on `device`. Lightning moves batches by this method."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in values.items() if hasattr(value, "to")}
        return replace(self, **moved)


@dataclass(frozen=True)
class SftBatch(Batch):
    """Examples to learn, or responses to score. `normaliser` counts the response tokens of the step.

    Attributes:
        learned_B: index into S of each example.
    """

    learned_B: Tensor


@dataclass(frozen=True)
class PairBatch(Batch):
    """Preference pairs. `normaliser`: weights of the step's examples together; where all weigh 1, their number.

    Attributes:
        chosen_B: index into S of each example's chosen response.
        rejected_C: index into S of each rejected response.
        contrasted_C: index into B of each rejected response's example.
        reference_chosen_logps_C: nats, float64.
        reference_rejected_logps_C: nats, float64.
        weights_B: of each example in the loss, float64.
    """

    chosen_B: Tensor
    rejected_C: Tensor
    contrasted_C: Tensor
    reference_chosen_logps_C: Tensor
    reference_rejected_logps_C: Tensor
    weights_B: Tensor


def collate_examples(examples: Sequence[Example], *, layout: Layout, normaliser: float) -> SftBatch:
    """The batch of these examples."""
    sequences = [(example.prompt_ids, example.response_ids) for example in examples]
    rows, learned = layout(sequences)
    return SftBatch(rows, _num_tokens(sequences), normaliser, learned_B=torch.tensor(learned))


def collate_pairs(examples: Sequence[PairExample], *, layout: Layout, normaliser: float) -> PairBatch:
    """The batch of these pairs: chosen responses first, then rejected ones, where the layout keeps the order."""
    sequences = [(pair.prompt_ids, pair.chosen_ids) for pair in examples]
    sequences += [(pair.prompt_ids, pair.rejected_ids) for pair in examples if pair.rejected_ids is not None]
    contrasted = [index for index, pair in enumerate(examples) if pair.rejected_ids is not None]
    rows, found = layout(sequences)
    return PairBatch(
        rows,
        _num_tokens(sequences),
        normaliser,
        chosen_B=torch.tensor(found[: len(examples)]),
        rejected_C=torch.tensor(found[len(examples) :], dtype=torch.int64),
        contrasted_C=torch.tensor(contrasted, dtype=torch.int64),
        reference_chosen_logps_C=_float64(pair.reference_chosen_logp for pair in examples),
        reference_rejected_logps_C=_float64(pair.reference_rejected_logp for pair in examples),
        weights_B=_float64(pair.weight for pair in examples),
    )


def _float64(values: Iterable[float | None]) -> Tensor:
    """Those that are there."""
    return torch.tensor([value for value in values if value is not None], dtype=torch.float64)


def _num_tokens(sequences: Sequences) -> int:
    return sum(len(prompt) + len(response) for prompt, response in sequences)
