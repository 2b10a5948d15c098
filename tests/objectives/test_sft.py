"""Normalisation of the NLL terms."""

import pytest
import torch

from medcritical.objectives import completion_loss, sequence_nll

SUMS = torch.tensor([-2.0, -12.0, -3.0], dtype=torch.float64)
COUNTS = torch.tensor([1, 6, 2])


def test_sequence_nll_weighs_sequences_alike() -> None:
    assert sequence_nll(SUMS, COUNTS).tolist() == [2.0, 2.0, 1.5]


def test_completion_loss_weighs_tokens_alike() -> None:
    assert completion_loss(SUMS, num_tokens=9).item() == pytest.approx(17 / 9)


def test_micro_batches_add_up_to_the_step() -> None:
    parts = completion_loss(SUMS[:1], num_tokens=9) + completion_loss(SUMS[1:], num_tokens=9)
    assert parts.item() == pytest.approx(completion_loss(SUMS, num_tokens=9).item(), rel=1e-14)
