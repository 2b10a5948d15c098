"""Drawing tokens from logits by inverse transform: one uniform number, one token.

B rows, V vocabulary, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LIKELIEST = 512
"""Tokens among which a nucleus is looked for first: finding them costs a fraction of sorting a whole vocabulary."""


def draw_tokens(logits_BV: Tensor, uniforms_B: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Return one token id per row, shape [B]: the argmax at temperature 0, else from softmax(logits / temperature).

    With `top_p` below 1 the draw is from the fewest most likely tokens that hold at least that mass. `uniforms_B` in
    [0, 1) picks the token, so a row's draw depends on nothing but its own logits and number.
    """
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    probs_BV = torch.softmax(logits_BV.float() / temperature, dim=-1)
    if top_p == 1:
        cdf_BV = probs_BV.cumsum(dim=-1)
        return _invert(cdf_BV, uniforms_B, cdf_BV[:, -1])
    if probs_BV.shape[1] <= LIKELIEST:
        return _draw_from_nucleus(*probs_BV.sort(dim=-1, descending=True, stable=True), uniforms_B, top_p)
    likeliest_BK, order_BK = probs_BV.topk(LIKELIEST, dim=-1)
    drawn_B = _draw_from_nucleus(likeliest_BK, order_BK, uniforms_B, top_p)
    wide_B = likeliest_BK.sum(dim=-1) < top_p
    if wide_B.any():
        probs_WV = probs_BV[wide_B].sort(dim=-1, descending=True, stable=True)
        drawn_B[wide_B] = _draw_from_nucleus(*probs_WV, uniforms_B[wide_B], top_p)
    return drawn_B


def draw_seeds(seed: int, places: Sequence[int], samples: int) -> list[int]:
    """Return a seed for each of `samples` responses to the prompts at `places`: the same in any share of a call."""
    drawn = torch.randint(2**62, (max(places, default=-1) + 1, samples), generator=torch.Generator().manual_seed(seed))
    seeds: list[int] = drawn[list(places)].flatten().tolist()
    return seeds


def draw_uniforms(seeds: Sequence[int], num_steps: int) -> Tensor:
    """Return uniform numbers in [0, 1), shape [B, T] on CPU, row b from a generator seeded with seeds[b]."""
    generator = torch.Generator()
    uniforms_BT = torch.empty(len(seeds), num_steps)
    for row_T, seed in zip(uniforms_BT, seeds, strict=True):
        row_T.uniform_(generator=generator.manual_seed(seed))
    return uniforms_BT


def _draw_from_nucleus(sorted_BK: Tensor, order_BK: Tensor, uniforms_B: Tensor, top_p: float) -> Tensor:
    """Return a token per row [B] from the first probabilities, in falling order, that together reach `top_p`."""
    cdf_BK = sorted_BK.cumsum(dim=-1)
    # Position of the first token at which the mass is reached; rounding may leave the whole sum below top_p.
    last_B1 = (cdf_BK < top_p).sum(dim=-1, keepdim=True).clamp(max=cdf_BK.shape[1] - 1)
    rank_B = _invert(cdf_BK, uniforms_B, cdf_BK.gather(1, last_B1)[:, 0])
    return order_BK.gather(1, torch.minimum(rank_B[:, None], last_B1))[:, 0]


def _invert(cdf_BV: Tensor, uniforms_B: Tensor, mass_B: Tensor) -> Tensor:
    """Return the first index whose cumulative probability exceeds uniform * mass, shape [B]."""
    index_B1 = torch.searchsorted(cdf_BV, (uniforms_B * mass_B)[:, None], right=True)
    return index_B1[:, 0].clamp(max=cdf_BV.shape[1] - 1)
