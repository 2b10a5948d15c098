"""The head in several chunks against log_softmax of all logits, and what it never holds in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medcritical.objectives import head
from medcritical.objectives.head import token_logps

TOKENS, WIDTH, VOCABULARY, ROWS = 11, 4, 53, 3
"""Three chunks of 3 tokens and a last one of 2."""


@pytest.fixture(autouse=True)
def _chunks_of_three_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    # Some logits are left over: a limit is seldom a multiple of the vocabulary.
    monkeypatch.setitem(head.CHUNK_ELEMENTS, "cpu", ROWS * VOCABULARY + 7)


def limit_kept(monkeypatch: pytest.MonkeyPatch, *, keeps: bool) -> None:
    monkeypatch.setitem(head.KEPT_ELEMENTS, "cpu", TOKENS * VOCABULARY - (not keeps))


class Case:
    """Leaves of a head's graph; the same for the same arguments."""

    def __init__(self, *, trains_hidden: bool, trains_head: bool, has_bias: bool, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)

        def leaf(*shape: int, trains: bool) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(trains)

        self.hidden_NH = leaf(TOKENS, WIDTH, trains=trains_hidden)
        self.weight_VH = leaf(VOCABULARY, WIDTH, trains=trains_head)
        self.bias_V = leaf(VOCABULARY, trains=trains_head) if has_bias else None
        # A target comes twice in a chunk, and again in another: their gradients add up.
        self.targets_N = torch.tensor([5, 0, 5, 52, 7, 5, 31, 31, 2, 52, 19])
        self.upstream_N = torch.linspace(-1, 2, TOKENS, dtype=dtype)

    def ours(self) -> Tensor:
        return token_logps(self.hidden_NH, self.weight_VH, self.targets_N, self.bias_V)

    def plain(self) -> Tensor:
        logits_NV = torch.nn.functional.linear(self.hidden_NH, self.weight_VH, self.bias_V)
        return logits_NV.log_softmax(1).gather(1, self.targets_N[:, None]).squeeze(1)

    def gradients(self, logps_N: Tensor) -> list[Tensor]:
        leaves = [one for one in (self.hidden_NH, self.weight_VH, self.bias_V) if one is not None and one.requires_grad]
        return list(torch.autograd.grad((logps_N * self.upstream_N).sum(), leaves))


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize(("trains_hidden", "trains_head"), [(True, False), (True, True), (False, True)])
def test_several_chunks_equal_log_softmax(
    trains_hidden: bool, trains_head: bool, keeps: bool, has_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_kept(monkeypatch, keeps=keeps)
    case = Case(trains_hidden=trains_hidden, trains_head=trains_head, has_bias=has_bias, dtype=torch.float64)
    ours, plain = case.ours(), case.plain()
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    for our_gradient, gradient in zip(case.gradients(ours), case.gradients(plain), strict=True):
        torch.testing.assert_close(our_gradient, gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trains_head", [False, True])
def test_autocast_in_several_chunks_stays_near_float32(trains_head: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_kept(monkeypatch, keeps=False)
    case = Case(trains_hidden=True, trains_head=trains_head, has_bias=True, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = case.ours()
    plain = case.plain()
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, plain, rtol=0, atol=0.1)
    for our_gradient, gradient in zip(case.gradients(ours), case.gradients(plain), strict=True):
        assert our_gradient.dtype == torch.float32
        assert (our_gradient - gradient).norm() <= 0.03 * gradient.norm()


@pytest.mark.parametrize(("trains_head", "keeps"), [(False, False), (True, False), (True, True)])
def test_gradients_of_likely_tokens_are_no_rounding(
    trains_head: bool, keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tokens with a probability of 0.998, onehot - softmax is 0.002: less than what bfloat16 rounds either part by."""
    limit_kept(monkeypatch, keeps=keeps)
    generator = torch.Generator().manual_seed(1)
    targets_N = torch.arange(TOKENS)
    weight_VH = 8 * torch.nn.functional.normalize(torch.randn(VOCABULARY, 64, generator=generator))
    hidden_NH = 0.17 * weight_VH[:TOKENS]

    def gradients(dtype: torch.dtype, *, is_narrow: bool) -> tuple[Tensor, list[Tensor]]:
        hidden = hidden_NH.to(dtype).requires_grad_()
        weight = weight_VH.to(dtype).requires_grad_(trains_head)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_narrow):
            logps_N = token_logps(hidden, weight, targets_N)
        return logps_N, list(torch.autograd.grad(logps_N.sum(), [hidden, weight] if trains_head else [hidden]))

    logps_N, exact = gradients(torch.float64, is_narrow=False)
    assert 0.997 < logps_N.detach().exp().mean() < 0.999
    for narrow, gradient in zip(gradients(torch.float32, is_narrow=True)[1], exact, strict=True):
        assert (narrow - gradient).norm() <= 0.05 * gradient.norm()


@pytest.mark.parametrize(("trains_head", "keeps", "chunks"), [(False, True, 0), (True, False, 0), (True, True, 4)])
def test_only_a_trained_head_within_its_budget_keeps_probabilities(
    trains_head: bool, keeps: bool, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_kept(monkeypatch, keeps=keeps)
    case = Case(trains_hidden=True, trains_head=trains_head, has_bias=False, dtype=torch.float32)
    logps_N = case.ours()
    context: Any = logps_N.grad_fn
    assert len(context.kept) == chunks
    case.gradients(logps_N)
    assert not context.kept


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that a result of any operation has, in either direction."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [one.numel() for one in tree_leaves(out) if isinstance(one, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return out


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("trains_head", [False, True])
def test_logits_of_all_tokens_never_exist(trains_head: bool, keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_kept(monkeypatch, keeps=keeps)
    case = Case(trains_hidden=True, trains_head=trains_head, has_bias=True, dtype=torch.float32)
    with LargestTensor() as plain:
        case.gradients(case.plain())
    assert plain.elements == TOKENS * VOCABULARY
    with LargestTensor() as ours:
        case.gradients(case.ours())
    assert ours.elements == max(ROWS, WIDTH) * VOCABULARY
