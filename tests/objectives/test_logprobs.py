"""Log-probabilities of responses: worked by hand, and what must not change them."""

import math

import pytest
import torch

from medcritical.objectives import IGNORED, sequence_logps


def random_case(num_rows: int = 3, num_tokens: int = 7, vocabulary: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(num_rows, num_tokens, vocabulary, dtype=torch.float64, generator=generator)
    labels = torch.randint(vocabulary, (num_rows, num_tokens), generator=generator)
    for row in range(num_rows):
        labels[row, : row + 1] = IGNORED
    return logits, labels


def test_hand_worked_with_the_shift_inside() -> None:
    # Two words. Position 0 gives word 1 the odds 3:1, position 1 the odds 1:4; position 2 predicts nothing.
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(4), 0.0], [50.0, -50.0]]], dtype=torch.float64)
    sums, counts = sequence_logps(logits, torch.tensor([[IGNORED, 1, 1]]))
    assert sums.item() == pytest.approx(math.log(3 / 4) + math.log(1 / 5), abs=1e-12)
    assert counts.tolist() == [2]
    sums, counts = sequence_logps(logits, torch.tensor([[IGNORED, IGNORED, 0]]))
    assert sums.item() == pytest.approx(math.log(4 / 5), abs=1e-12)
    assert counts.tolist() == [1]


def test_equals_a_plain_log_softmax() -> None:
    logits, labels = random_case()
    expected = [
        sum(
            torch.log_softmax(logits[b, t - 1], -1)[labels[b, t]].item()
            for t in range(1, labels.shape[1])
            if labels[b, t] != IGNORED
        )
        for b in range(len(labels))
    ]
    sums, _ = sequence_logps(logits, labels)
    torch.testing.assert_close(sums, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_padding_changes_nothing() -> None:
    logits, labels = random_case()
    padded_logits = torch.cat([logits, torch.randn(3, 5, 11, dtype=torch.float64)], dim=1)
    padded_labels = torch.cat([labels, torch.full((3, 5), IGNORED)], dim=1)
    for expected, actual in zip(
        sequence_logps(logits, labels), sequence_logps(padded_logits, padded_labels), strict=True
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)


def test_only_positions_before_response_tokens_have_gradient() -> None:
    logits, labels = random_case()
    logits.requires_grad_()
    sequence_logps(logits, labels)[0].sum().backward()
    assert logits.grad is not None
    predicts = torch.cat([labels[:, 1:] != IGNORED, torch.zeros(3, 1, dtype=torch.bool)], dim=1)
    assert (logits.grad[~predicts] == 0).all()
    assert (logits.grad[predicts].abs().sum(-1) > 0).all()
    # d log p(y) / d logits = onehot(y) - softmax
    onehot = torch.nn.functional.one_hot(labels[:, 1:][predicts[:, :-1]], 11).double()
    torch.testing.assert_close(logits.grad[predicts], onehot - torch.softmax(logits[predicts], -1).detach())


@pytest.mark.parametrize(
    ("given", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_arithmetic_is_never_below_float32(given: torch.dtype, expected: torch.dtype) -> None:
    logits, labels = random_case()
    sums, _ = sequence_logps(logits.to(given), labels)
    assert sums.dtype == expected
    exact, _ = sequence_logps(logits.to(given).double(), labels)
    torch.testing.assert_close(sums.double(), exact, rtol=1e-6, atol=1e-5)


def test_a_row_without_response_tokens_has_none() -> None:
    logits, labels = random_case()
    labels[1] = IGNORED
    sums, counts = sequence_logps(logits, labels)
    assert (sums[1].item(), counts[1].item()) == (0.0, 0)
