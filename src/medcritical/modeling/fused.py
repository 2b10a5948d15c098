"""LoRA layers and gated units with fewer passes over their activations than the modules they stand in for.

A layer's class alone is changed, and only within a block: its weights, names and state stay what they are. What a layer
computes stays the same, up to rounding; where a case is not covered it runs as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.activations import SiLUActivation

GATED_UNITS = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP")
"""transformers classes that compute down(act(gate(x)) * up(x))."""


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Within the block, layers of `model` that can be are fused ones."""
    before = {module: type(module) for module in model.modules() if _fused_class(module) is not None}
    for module in before:
        module.__class__ = _fused_class(module)
    try:
        yield
    finally:
        for module, own in before.items():
            module.__class__ = own


def _fused_class(module: nn.Module) -> Any:
    if type(module) is LoraLinear and _is_plain(module):
        return FusedLora
    is_gated = type(module).__name__ in GATED_UNITS and isinstance(module.act_fn, (nn.SiLU, SiLUActivation))
    return FusedGatedUnit if is_gated else None


def _is_plain(layer: LoraLinear) -> bool:
    """One adapter without variants or dropout over a frozen layer whose weights are all in this process."""
    base = layer.base_layer
    return (
        type(base) is nn.Linear
        and not any(parameter.requires_grad for parameter in base.parameters())
        and len(layer.lora_A) == 1
        and not layer.lora_variant
        and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
        and all(up.bias is None for up in layer.lora_B.values())
        # What shards weights (ZeRO-3) gathers them around a module's own forward pass, which is not called here.
        and not any(hasattr(parameter, "ds_id") for parameter in layer.parameters())
    )


class FusedLora(LoraLinear):  # type: ignore[misc]
    """x W^T + bias + scale (x A^T) B^T, its update added by the matrix product that makes it."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As peft's layer; with the adapter off or merged, by peft's layer."""
        (name,) = self.lora_A
        if self.disable_adapters or self.merged or list(self.active_adapters) != [name] or args or kwargs:
            output: Tensor = super().forward(x, *args, **kwargs)
            return output
        base, down, up = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        weight, bias, dtype = base.weight, base.bias, base.weight.dtype
        device = x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        # Casts outside of the function: autograd then brings gradients back to the types of the arguments.
        bias = None if bias is None else bias.to(dtype)
        x, weight, down, up = (tensor.to(dtype) for tensor in (x, weight, down, up))
        with torch.autocast(device, enabled=False):
            result: Tensor = _Lora.apply(x, weight, bias, down, up, self.scaling[name])  # type: ignore[no-untyped-call]
        return result


class FusedGatedUnit(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def forward(self, x: Tensor) -> Tensor:
        """As transformers' own."""
        product = _GatedProduct.apply(self.gate_proj(x), self.up_proj(x))  # type: ignore[no-untyped-call]
        output: Tensor = self.down_proj(product)
        return output


class _Lora(torch.autograd.Function):
    """Legend: N tokens, I inputs, O outputs, R rank."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, down_RI: Tensor, up_OR: Tensor, scale: float
    ) -> Tensor:
        x_NI = x.reshape(-1, x.shape[-1])
        low_NR = x_NI @ down_RI.t()
        output_NO = F.linear(x_NI, weight_OI, bias_O).addmm_(low_NR, up_OR.t(), alpha=scale)
        ctx.save_for_backward(x_NI, weight_OI, down_RI, up_OR, low_NR)
        ctx.scale, ctx.shape = scale, x.shape
        return output_NO.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x_NI, weight_OI, down_RI, up_OR, low_NR = ctx.saved_tensors
        upstream_NO = upstream.reshape(-1, upstream.shape[-1])
        low_gradient_NR = (upstream_NO @ up_OR).mul_(ctx.scale)
        gradient = None
        if ctx.needs_input_grad[0]:
            gradient = (upstream_NO @ weight_OI).addmm_(low_gradient_NR, down_RI).view(ctx.shape)
        up_gradient_OR = upstream_NO.t() @ low_NR.mul(ctx.scale)
        return gradient, None, None, low_gradient_NR.t() @ x_NI, up_gradient_OR, None


class _GatedProduct(torch.autograd.Function):
    """silu(gate) * up, of which only gate and up are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        up_gradient = F.silu(gate).mul_(upstream)
        return torch.ops.aten.silu_backward(upstream * up, gate), up_gradient
