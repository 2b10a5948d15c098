"""Parts of a layer with fewer passes over memory, and fewer tensors kept for the backward pass, than as separate steps.

They stand in for modules of transformers and peft that compute the same, and only while a model is trained: `fused`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")
FEED_FORWARDS = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP")


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Within the block, the parts of `model` that have a fused form run in it. A part keeps its weights and name.

    Under ZeRO-3 nothing is fused: an adapter would read weights of the layer below it that are not gathered then.
    """
    is_sharded = any(hasattr(parameter, "ds_id") for parameter in model.parameters())
    kinds = {} if is_sharded else {module: kind for module in model.modules() if (kind := _fused_form(module))}
    plain = {module: type(module) for module in kinds}
    pairs = {(kind, plain[module]) for module, kind in kinds.items()}
    subclasses = {pair: type(f"Fused{pair[1].__name__}", pair, {}) for pair in pairs}
    for module, kind in kinds.items():
        # Its class alone is changed, to a subclass that differs in `forward`.
        module.__class__ = subclasses[kind, plain[module]]
    try:
        yield
    finally:
        for module, before in plain.items():
            module.__class__ = before


class FusedNorm:
    """forward of a root-mean-square norm."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        """x / rms(x) * weight, of the shape of x."""
        normed: Tensor = _Norm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
        return normed


class FusedFeedForward:
    """forward of a gated feed-forward layer with SiLU."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """down(silu(gate(x)) * up(x)), of the shape of x."""
        gated: Tensor = _Gated.apply(self.gate_proj(x), self.up_proj(x))  # type: ignore[no-untyped-call]
        out: Tensor = self.down_proj(gated)
        return out


class FusedLora:
    """forward of a frozen linear layer with one adapter."""

    base_layer: nn.Linear
    active_adapters: list[str]
    lora_A: nn.ModuleDict
    lora_B: nn.ModuleDict
    scaling: dict[str, float]

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + bias + scaling * x A^T B^T."""
        (name,) = self.active_adapters
        tensors = [x, self.base_layer.weight, self.base_layer.bias, self.lora_A[name].weight, self.lora_B[name].weight]
        device = x.device.type
        if torch.is_autocast_enabled(device):
            narrow = torch.get_autocast_dtype(device)
            tensors = [None if tensor is None else tensor.to(narrow) for tensor in tensors]
        with torch.autocast(device, enabled=False):
            out: Tensor = _AdaptedLinear.apply(*tensors, self.scaling[name])  # type: ignore[no-untyped-call]
        return out


class _Norm(torch.autograd.Function):
    """With n = x / rms(x): dx = (g w - n mean(g w n)) / rms(x), dw = sum(g n)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        x_wide = x.to(wide)
        inverse = torch.linalg.vector_norm(x_wide, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse = inverse.add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        # The norm's own result has the type of its input before it is multiplied by the weight.
        normed: Tensor = (x_wide * inverse).to(x.dtype) * weight
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        normed = x.to(inverse.dtype) * inverse
        upstream = upstream.to(inverse.dtype)
        weight_gradient = None
        if ctx.needs_input_grad[1]:
            weight_gradient = (upstream * normed).flatten(0, -2).sum(0).to(weight.dtype)
        scaled = upstream * weight
        share = torch.linalg.vecdot(scaled, normed).unsqueeze(-1).div_(x.shape[-1])
        return scaled.addcmul_(normed, share, value=-1).mul_(inverse).to(x.dtype), weight_gradient, None


class _Gated(torch.autograd.Function):
    """silu(gate) * up, of which silu(gate) is not kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        up_gradient = F.silu(gate).mul_(upstream)
        gate_gradient: Tensor = torch.ops.aten.silu_backward(upstream * up, gate)
        return gate_gradient, up_gradient


class _AdaptedLinear(torch.autograd.Function):
    """The adapter's part is added in place of the product of the frozen layer, forwards and backwards."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scaling: float
    ) -> Tensor:
        x_NI = x.flatten(0, -2)
        down_NR = x_NI @ a_RI.t()
        out_NO = F.linear(x_NI, weight_OI, bias_O).addmm_(down_NR, b_OR.t(), alpha=scaling)
        ctx.save_for_backward(x_NI, weight_OI, a_RI, b_OR, down_NR)
        ctx.scaling = scaling
        return out_NO.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x_NI, weight_OI, a_RI, b_OR, down_NR = ctx.saved_tensors
        upstream_NO = upstream.flatten(0, -2)
        up_NR = (upstream_NO @ b_OR).mul_(ctx.scaling)
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = (upstream_NO @ weight_OI).addmm_(up_NR, a_RI).view(*upstream.shape[:-1], -1)
        return x_gradient, None, None, up_NR.t() @ x_NI, (upstream_NO.t() @ down_NR).mul_(ctx.scaling), None


def _fused_form(module: nn.Module) -> type | None:
    """The class whose forward may stand in for that of `module`."""
    name = type(module).__name__
    if not type(module).__module__.startswith(("transformers.models.", "peft.")):
        return None
    if name in NORMS:
        return FusedNorm
    if name in FEED_FORWARDS and isinstance(module.act_fn, nn.SiLU | _silu_class()):
        return FusedFeedForward
    if type(module) is LoraLinear and _is_plain(module):
        return FusedLora
    return None


def _silu_class() -> type:
    from transformers.activations import ACT2FN

    return type(ACT2FN["silu"])


def _is_plain(module: LoraLinear) -> bool:
    """One adapter that is on, without dropout or bias, on a frozen linear layer."""
    if len(module.active_adapters) != 1 or module.disable_adapters or module.merged:
        return False
    name, base = module.active_adapters[0], module.base_layer
    return (
        type(base) is nn.Linear
        and not any(parameter.requires_grad for parameter in base.parameters())
        and isinstance(module.lora_dropout[name], nn.Identity)
        and name not in module.lora_variant
        and not module.lora_bias[name]
    )
