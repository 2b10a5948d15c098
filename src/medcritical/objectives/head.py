"""Log-probabilities of given tokens from hidden states, without the logits of all of them ever being in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = {"cpu": 2**23, "cuda": 2**27}
"""Logits in memory at a time, by device type: enough rows for a fast matrix product, few enough to be forgotten."""

KEPT_ELEMENTS = {"cpu": 2**25, "cuda": 2**28}
"""Probabilities that the backward pass of a trained head may find in memory; of a larger batch it computes them anew."""


def token_logps(hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor, bias_V: Tensor | None = None) -> Tensor:
    """log softmax(hidden @ weight.T + bias)[target] of N tokens, shape (N,), in nats; float64 if hidden is, else float32.

    Logits exist for a chunk of tokens at a time. Where the head is frozen, the gradient of the hidden states,
    (onehot(target) - softmax) @ weight, is computed with the forward pass, so nothing is computed twice; where it is
    trained, softmax - onehot is kept up to a budget and computed anew beyond. Under autocast the products are in its
    type, and softmax and sums in float32.
    """
    device = hidden_NH.device.type
    if torch.is_autocast_enabled(device):
        narrow = torch.get_autocast_dtype(device)
        # Casts outside of the function: autograd then brings gradients back to the types of the arguments.
        hidden_NH, weight_VH = hidden_NH.to(narrow), weight_VH.to(narrow)
        bias_V = None if bias_V is None else bias_V.to(narrow)
    with torch.autocast(device, enabled=False):
        logps_N: Tensor = _TokenLogps.apply(hidden_NH, weight_VH, targets_N, bias_V)  # type: ignore[no-untyped-call]
    return logps_N


class _TokenLogps(torch.autograd.Function):
    """With e_t = p_t - onehot(y_t): d logp_t / d h_t = -e_t @ W, and d logp_t / d W = -e_t h_t^T."""

    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor, bias_V: Tensor | None) -> Tensor:
        trains_hidden, trains_weight, _, trains_bias = ctx.needs_input_grad
        ctx.is_frozen = not (trains_weight or trains_bias)
        logps_N = hidden_NH.new_empty(len(hidden_NH), dtype=_wide(hidden_NH))
        errors_NH = torch.empty_like(hidden_NH) if trains_hidden and ctx.is_frozen else None
        keeps = not ctx.is_frozen and len(hidden_NH) * len(weight_VH) <= KEPT_ELEMENTS[hidden_NH.device.type]
        ctx.kept = []
        chunks = _Chunks(hidden_NH, weight_VH, targets_N, bias_V, reuses_memory=not keeps)
        for rows, logps_C, errors_CV in chunks:
            logps_N[rows] = logps_C
            if errors_NH is not None:
                torch.mm(errors_CV.to(hidden_NH.dtype), weight_VH, out=errors_NH[rows])
            if keeps:
                ctx.kept.append(errors_CV.to(hidden_NH.dtype))
        if errors_NH is not None:
            ctx.save_for_backward(errors_NH)
        elif not ctx.is_frozen:
            ctx.save_for_backward(hidden_NH, weight_VH, targets_N, bias_V)
        return logps_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_N: Tensor) -> tuple[Tensor | None, Tensor | None, None, Tensor | None]:
        if ctx.is_frozen:
            (errors_NH,) = ctx.saved_tensors
            return errors_NH * -upstream_N[:, None].to(errors_NH.dtype), None, None, None
        hidden_NH, weight_VH, targets_N, bias_V = ctx.saved_tensors
        downstream_N1 = -upstream_N[:, None].to(hidden_NH.dtype)
        # The scalars go to the narrow side of each product: no pass over the vocabulary is needed for them.
        scaled_NH = hidden_NH * downstream_N1
        gradient_NH = torch.empty_like(hidden_NH)
        gradient_VH = torch.zeros_like(weight_VH)
        gradient_V = None if bias_V is None else torch.zeros_like(bias_V)
        for rows, errors_CV in _kept_or_again(ctx, hidden_NH, weight_VH, targets_N, bias_V):
            torch.mm(errors_CV, weight_VH, out=gradient_NH[rows])
            gradient_VH.addmm_(errors_CV.t(), scaled_NH[rows])
            if gradient_V is not None:
                gradient_V.addmv_(errors_CV.t(), downstream_N1[rows, 0])
        return gradient_NH.mul_(downstream_N1), gradient_VH, None, gradient_V


class _Chunks:
    """Iterates over chunks of tokens: rows, log-probabilities of their targets, and softmax - onehot(target).

    What an iteration gives is overwritten by the next, unless `reuses_memory` is False.
    """

    def __init__(
        self,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        targets_N: Tensor,
        bias_V: Tensor | None,
        *,
        reuses_memory: bool,
    ) -> None:
        self.hidden_NH, self.weight_VH, self.targets_N, self.bias_V = hidden_NH, weight_VH, targets_N, bias_V
        self.reuses_memory = reuses_memory

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        hidden_NH, weight_VH, wide = self.hidden_NH, self.weight_VH, _wide(self.hidden_NH)
        size = max(1, min(len(hidden_NH), CHUNK_ELEMENTS[hidden_NH.device.type] // len(weight_VH)))
        logits = hidden_NH.new_empty(size, len(weight_VH))
        memory = hidden_NH.new_empty(logits.shape, dtype=wide) if self.reuses_memory else None
        for start in range(0, len(hidden_NH), size):
            rows = slice(start, min(start + size, len(hidden_NH)))
            number = rows.stop - rows.start
            logits_CV = torch.mm(hidden_NH[rows], weight_VH.t(), out=logits[:number])
            if self.bias_V is not None:
                logits_CV += self.bias_V
            out = None if memory is None else memory[:number]
            probabilities_CV = torch.softmax(logits_CV, dim=1, dtype=wide, out=out)
            # The largest probability is exp(0) / sum exp(logit - largest logit): it holds the log-sum-exp, without a
            # further pass of exponentials over the vocabulary.
            logsumexp_C = logits_CV.amax(1).to(wide) - probabilities_CV.amax(1).log()
            targets_C1 = self.targets_N[rows, None]
            logps_C = logits_CV.gather(1, targets_C1).squeeze(1) - logsumexp_C
            # Before anything is narrowed: the difference of a likely token's two parts, each rounded, would be noise.
            ones_C1 = probabilities_CV.new_ones(()).expand(number, 1)
            yield rows, logps_C, probabilities_CV.scatter_add_(1, targets_C1, -ones_C1)


def _wide(hidden_NH: Tensor) -> torch.dtype:
    return torch.promote_types(hidden_NH.dtype, torch.float32)


def _kept_or_again(
    ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor, bias_V: Tensor | None
) -> Iterator[tuple[slice, Tensor]]:
    """Rows and softmax - onehot of every chunk; kept ones are given up as they are used."""
    if not ctx.kept:
        for rows, _, errors_CV in _Chunks(hidden_NH, weight_VH, targets_N, bias_V, reuses_memory=True):
            yield rows, errors_CV.to(hidden_NH.dtype)
        return
    start = 0
    for errors_CV in ctx.kept:
        yield slice(start, start + len(errors_CV)), errors_CV
        start += len(errors_CV)
    ctx.kept = []
