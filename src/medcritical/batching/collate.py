"""Examples of token ids, and the padded batches made of them.

Rows are padded on the right and carry no attention mask: under a causal mask no real token sees what follows it, and
without a mask of its own the model takes the fast causal attention kernel. A packed layout is another function of the
same type (`SftCollate`, `PairCollate`), chosen by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from medcritical.errors import DataError
from medcritical.objectives import IGNORED

BatchT = TypeVar("BatchT", bound="Batch")
Ids = Sequence[int]


@dataclass(frozen=True)
class Example:
    """A prompt and the response to learn, as token ids. The response ends with the end-of-sequence token."""

    prompt_ids: Ids
    response_ids: Ids

    def __post_init__(self) -> None:
        _require_tokens(prompt=self.prompt_ids, response=self.response_ids)

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True)
class PairExample:
    """A preference pair as token ids, with reference log-probabilities: nats, summed over response tokens.

    `rejected_ids` and `reference_rejected_logp` are None together: the chosen response then feeds the NLL term alone.
    """

    prompt_ids: Ids
    chosen_ids: Ids
    rejected_ids: Ids | None
    reference_chosen_logp: float
    reference_rejected_logp: float | None

    def __post_init__(self) -> None:
        _require_tokens(prompt=self.prompt_ids, chosen=self.chosen_ids)
        if (self.rejected_ids is None) != (self.reference_rejected_logp is None):
            raise DataError("A pair has a rejected response or its reference log-probability, but not both.")
        if self.rejected_ids is not None:
            _require_tokens(rejected=self.rejected_ids)

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longer response."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids or ()))


@dataclass(frozen=True)
class Batch:
    """What one forward pass sees. Legend: R rows, T tokens, B examples, C examples with a rejected response.

    Attributes:
        input_ids_RT: token ids, int64, padded on the right.
        labels_RT: token ids at response positions, `IGNORED` elsewhere.
        num_tokens: tokens that are no padding.
        normaliser: what the loss of the whole optimizer step is divided by.
    """

    input_ids_RT: Tensor
    labels_RT: Tensor
    num_tokens: int
    normaliser: int

    def to(self: BatchT, device: torch.device | str) -> BatchT:
        """This batch with its tensors on `device`. Lightning moves batches by this method."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class SftBatch(Batch):
    """One row per example. `normaliser` counts the response tokens of the step."""


@dataclass(frozen=True)
class PairBatch(Batch):
    """B rows of chosen responses, then C rows of rejected ones, for one forward pass. `normaliser`: examples per step.

    Attributes:
        reference_chosen_logps_B: nats, float64.
        reference_rejected_logps_C: nats, float64.
        contrasted_C: index into B of each rejected row's example.
    """

    reference_chosen_logps_B: Tensor
    reference_rejected_logps_C: Tensor
    contrasted_C: Tensor

    @property
    def num_examples(self) -> int:
        """B, the number of chosen rows."""
        return len(self.reference_chosen_logps_B)


class SftCollate(Protocol):
    """Lays examples out for one forward pass."""

    def __call__(self, examples: Sequence[Example], *, pad_id: int, normaliser: int) -> SftBatch: ...


class PairCollate(Protocol):
    """Lays preference pairs out for one forward pass."""

    def __call__(self, examples: Sequence[PairExample], *, pad_id: int, normaliser: int) -> PairBatch: ...


def collate_examples(examples: Sequence[Example], *, pad_id: int, normaliser: int) -> SftBatch:
    """Examples as rows padded to the longest."""
    rows = [(example.prompt_ids, example.response_ids) for example in examples]
    return SftBatch(*_padded(rows, pad_id), num_tokens=_num_tokens(rows), normaliser=normaliser)


def collate_pairs(examples: Sequence[PairExample], *, pad_id: int, normaliser: int) -> PairBatch:
    """Chosen rows, then rejected rows, padded to the longest of both."""
    rows = [(pair.prompt_ids, pair.chosen_ids) for pair in examples]
    rows += [(pair.prompt_ids, pair.rejected_ids) for pair in examples if pair.rejected_ids is not None]
    rejected_logps = [pair.reference_rejected_logp for pair in examples if pair.reference_rejected_logp is not None]
    contrasted = [index for index, pair in enumerate(examples) if pair.rejected_ids is not None]
    return PairBatch(
        *_padded(rows, pad_id),
        num_tokens=_num_tokens(rows),
        normaliser=normaliser,
        reference_chosen_logps_B=torch.tensor([p.reference_chosen_logp for p in examples], dtype=torch.float64),
        reference_rejected_logps_C=torch.tensor(rejected_logps, dtype=torch.float64),
        contrasted_C=torch.tensor(contrasted, dtype=torch.int64),
    )


def _padded(rows: Sequence[tuple[Ids, Ids]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Input ids and labels of (prompt, response) rows, both of shape (R, T)."""
    width = max(len(prompt) + len(response) for prompt, response in rows)
    inputs, labels = [], []
    for prompt, response in rows:
        padding = width - len(prompt) - len(response)
        inputs.append([*prompt, *response, *[pad_id] * padding])
        labels.append([*[IGNORED] * len(prompt), *response, *[IGNORED] * padding])
    return torch.tensor(inputs), torch.tensor(labels)


def _num_tokens(rows: Sequence[tuple[Ids, Ids]]) -> int:
    return sum(len(prompt) + len(response) for prompt, response in rows)


def _require_tokens(**parts: Ids) -> None:
    for name, ids in parts.items():
        if not len(ids):
            raise DataError(
                f"An example has an empty {name}: no token precedes the first response token, or none does."
            )
