"""Gradients of the fused parts, against differences of their values in float64."""

import pytest
import torch
from torch import Tensor

from medcritical.modeling.fused import _AdaptedLinear, _Gated, _Norm


def leaf(*shape: int, trains: bool = True) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=trains)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("trains_weight", [False, True])
def test_norm(trains_weight: bool) -> None:
    weight = (torch.rand(6, dtype=torch.float64) + 0.5).requires_grad_(trains_weight)
    x = leaf(2, 3, 6)
    expected = torch.nn.functional.rms_norm(x, (6,), weight, eps=1e-2)
    torch.testing.assert_close(_Norm.apply(x, weight, 1e-2), expected, rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(lambda *tensors: _Norm.apply(*tensors, 1e-2), (x, weight))


def test_gated() -> None:
    gate, up = leaf(2, 3, 5), leaf(2, 3, 5)
    torch.testing.assert_close(_Gated.apply(gate, up), torch.nn.functional.silu(gate) * up, rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(_Gated.apply, (gate, up))


@pytest.mark.parametrize("trains_input", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_adapted_linear(has_bias: bool, trains_input: bool) -> None:
    """Weight and bias of the layer below are frozen; the first layer's input has no gradient."""
    x, weight_OI, a_RI, b_OR = leaf(2, 3, 5, trains=trains_input), leaf(4, 5, trains=False), leaf(2, 5), leaf(4, 2)
    bias_O = leaf(4, trains=False) if has_bias else None
    expected = torch.nn.functional.linear(x, weight_OI, bias_O) + 1.7 * (x @ a_RI.t() @ b_OR.t())
    arguments = (x, weight_OI, bias_O, a_RI, b_OR)
    torch.testing.assert_close(_AdaptedLinear.apply(*arguments, 1.7), expected, rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(lambda *tensors: _AdaptedLinear.apply(*tensors, 1.7), arguments)
