"""Attention of a packed row on a CPU: a list of blocks, of which those that the mask would empty are not computed.

A large block is computed by itself, from views of the row. Of a small one the call costs more than the arithmetic, so small
ones of like shape are gathered, padded to the longest, and computed together.

Legend: T tokens of the row; N blocks computed together, with Q queries or L keys of the longest; P positions that are no
padding; K key heads, G query heads of one key head, D width of a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medcritical.batching import Question

SMALL = 160
"""Tokens: a block of at most so many queries and keys is computed together with others."""

MOST_PADDING = 1.5
"""Area of the blocks of a group, each padded to the longest, over their own."""

_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Block(NamedTuple):
    """Queries that see keys: all of them, or, where the ranges are one, those up to their own position.

    `is_second`: the queries are in another block too, which comes before it.
    """

    queries: slice
    keys: slice
    is_second: bool = False

    @property
    def is_causal(self) -> bool:
        """True for a range that looks at itself."""
        return self.queries == self.keys

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of queries and keys."""
        return self.queries.stop - self.queries.start, self.keys.stop - self.keys.start


def attention_blocks(questions: Iterable[Question]) -> Iterator[Block]:
    """The blocks that are not empty: prompt with first response, other responses on the prompt and on themselves."""
    for question in questions:
        prompt = slice(question.start, question.start + question.prompt)
        first = slice(question.start, prompt.stop + question.responses[0])
        yield Block(first, first)
        if len(question.responses) > 1:
            yield Block(slice(first.stop, question.stop), prompt)
        start = first.stop
        for length in question.responses[1:]:
            own = slice(start, start + length)
            yield Block(own, own, is_second=True)
            start += length


def block_attention(
    query: Tensor, key: Tensor, value: Tensor, questions: tuple[Question, ...], scaling: float | None
) -> Tensor:
    """Softmax attention of one packed row, of the shape of `query`.

    Key heads become the batch and the queries of one its heads: keys need no copies for grouped queries.

    Args:
        query, key, value: of shapes (1, K * G, T, D), (1, K, T, D), (1, K, T, D).
    """
    query_TKGD = query[0].transpose(0, 1).view(query.shape[2], key.shape[1], -1, query.shape[3])
    key_TKD, value_TKD = key[0].transpose(0, 1), value[0].transpose(0, 1)
    groups = block_groups(questions)
    out_TKGD: Tensor = _BlockAttention.apply(query_TKGD, key_TKD, value_TKD, groups, scaling)  # type: ignore[no-untyped-call]
    return out_TKGD.flatten(1, 2).transpose(0, 1)[None]


class Span:
    """Ranges of positions, one for each block of a group: views of a row for one range, copies for several."""

    def __init__(self, ranges: Sequence[slice]) -> None:
        self.only = ranges[0] if len(ranges) == 1 else None
        if self.only is not None:
            return
        starts_N, stops_N = (torch.tensor([getattr(one, end) for one in ranges]) for end in ("start", "stop"))
        offsets_L = torch.arange(int((stops_N - starts_N).max()))
        positions_NL = starts_N[:, None] + offsets_L
        self.is_real_NL = positions_NL < stops_N[:, None]
        self._row_NL = torch.where(self.is_real_NL, positions_NL, 0)
        self._row_P = positions_NL[self.is_real_NL]
        self._place_P = self.is_real_NL.flatten().nonzero()[:, 0]

    def of(self, row_TX: Tensor) -> Tensor:
        """What a row holds there, shape (N, L, ...); anything at padding."""
        return row_TX[self.only][None] if self.only is not None else row_TX[self._row_NL]

    def put(self, row_TX: Tensor, values_NLX: Tensor) -> None:
        """Write values into a row."""
        if self.only is not None:
            row_TX[self.only] = values_NLX[0]
        else:
            row_TX[self._row_P] = values_NLX.flatten(0, 1)[self._place_P]

    def add(self, row_TX: Tensor, values_NLX: Tensor) -> None:
        """Add values to a row."""
        if self.only is not None:
            row_TX[self.only] += values_NLX[0]
        else:
            row_TX.index_add_(0, self._row_P, values_NLX.flatten(0, 1)[self._place_P].to(row_TX.dtype))


@dataclass(frozen=True, eq=False)
class BlockGroup:
    """Blocks that one call computes."""

    queries: Span
    keys: Span
    is_causal: bool
    is_second: bool

    def tensors(self, query_TKGD: Tensor, key_TKD: Tensor, value_TKD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (N * K, G, Q, D), keys and values (N * K, G, L, D); these are seen, not copied, by the G heads."""
        shape = (-1, query_TKGD.shape[2], -1, -1)
        key, value = (
            _heads_first(self.keys.of(tensor)[:, :, :, None]).expand(shape) for tensor in (key_TKD, value_TKD)
        )
        return _heads_first(self.queries.of(query_TKGD)), key, value

    def options(self, query: Tensor, num_keys: int) -> dict[str, Any]:
        """Which keys a query sees. Padding stands behind the real keys: a causal block sees none of it."""
        if self.is_causal or self.keys.only is not None:
            return {"is_causal": self.is_causal}
        mask_NL = torch.zeros(self.keys.is_real_NL.shape, dtype=query.dtype).masked_fill_(
            ~self.keys.is_real_NL, -torch.inf
        )
        return {"is_causal": False, "attn_mask": mask_NL.repeat_interleave(num_keys, dim=0)[:, None, None]}

    def lse(self, lse_TKG: Tensor) -> Tensor:
        """Log-sum-exp of the queries, (N * K, G, Q); infinite at padding, which so has no part in a gradient."""
        lse_NQKG = self.queries.of(lse_TKG)
        if self.queries.only is None:
            lse_NQKG = lse_NQKG.masked_fill(~self.queries.is_real_NL[:, :, None, None], torch.inf)
        return _heads_first(lse_NQKG[..., None])[..., 0]


@lru_cache(maxsize=1)
def block_groups(questions: tuple[Question, ...]) -> tuple[BlockGroup, ...]:
    """The blocks of a row, in the order of their computation; made once for its layers, forward and backward."""

    def kind(block: Block) -> tuple[bool, bool]:
        return block.is_second, block.is_causal

    return tuple(
        BlockGroup(Span([block.queries for block in like]), Span([block.keys for block in like]), is_causal, is_second)
        for (is_second, is_causal), blocks in groupby(sorted(attention_blocks(questions), key=kind), kind)
        for like in _alike(blocks)
    )


def _alike(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Large blocks one by one; small ones together as long as the longest of them does not make the padding too much."""
    group: list[Block] = []
    for block in sorted(blocks, key=lambda block: block.shape, reverse=True):
        if max(block.shape) > SMALL:
            yield [block]
        elif _padding([*group, block]) <= MOST_PADDING:
            group.append(block)
        else:
            yield group
            group = [block]
    if group:
        yield group


def _padding(blocks: Sequence[Block]) -> float:
    shapes = [block.shape for block in blocks]
    longest = max(queries for queries, _ in shapes) * max(keys for _, keys in shapes)
    return len(blocks) * longest / sum(queries * keys for queries, keys in shapes)


class _BlockAttention(torch.autograd.Function):
    """Softmax attention over groups of blocks, where a query may be in two: over its prompt and over itself.

    Each block gives its output and log-sum-exp; those of two blocks are merged by their share of the joint sum. The
    gradient of a block follows from the joint output and log-sum-exp, so that no more than these is kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_TKGD: Tensor,
        key_TKD: Tensor,
        value_TKD: Tensor,
        groups: tuple[BlockGroup, ...],
        scaling: float | None,
    ) -> Tensor:
        num_keys = query_TKGD.shape[1]
        wide = torch.promote_types(query_TKGD.dtype, torch.float32)
        out_TKGD = torch.empty_like(query_TKGD, memory_format=torch.contiguous_format)
        lse_TKG = query_TKGD.new_empty(query_TKGD.shape[:3], dtype=wide)
        for group in groups:
            tensors = group.tensors(query_TKGD, key_TKD, value_TKD)
            part, lse = _attend(*tensors, scale=scaling, **group.options(query_TKGD, num_keys))
            part, lse = _tokens_first(part, num_keys), _tokens_first(lse[..., None], num_keys)[..., 0]
            if group.is_second:
                part, lse = _merged(group.queries.of(out_TKGD), group.queries.of(lse_TKG), part, lse)
            group.queries.put(out_TKGD, part)
            group.queries.put(lse_TKG, lse)
        ctx.save_for_backward(query_TKGD, key_TKD, value_TKD, out_TKGD, lse_TKG)
        ctx.groups, ctx.scaling = groups, scaling
        return out_TKGD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_TKGD: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query_TKGD, key_TKD, value_TKD, out_TKGD, lse_TKG = ctx.saved_tensors
        num_keys, wide = query_TKGD.shape[1], lse_TKG.dtype
        gradients = [
            torch.zeros(tensor.shape, dtype=wide, device=tensor.device) for tensor in (query_TKGD, key_TKD, value_TKD)
        ]
        for group in ctx.groups:
            parts = _attend_backward(
                _heads_first(group.queries.of(upstream_TKGD)),
                *group.tensors(query_TKGD, key_TKD, value_TKD),
                _heads_first(group.queries.of(out_TKGD)),
                group.lse(lse_TKG),
                0.0,
                scale=ctx.scaling,
                **group.options(query_TKGD, num_keys),
            )
            group.queries.add(gradients[0], _tokens_first(parts[0], num_keys))
            for gradient, part in zip(gradients[1:], parts[1:], strict=True):
                group.keys.add(gradient, _tokens_first(part.sum(1, keepdim=True, dtype=wide), num_keys)[:, :, :, 0])
        query, key, value = (gradient.to(query_TKGD.dtype) for gradient in gradients)
        return query, key, value, None, None


def _heads_first(part_NLKGD: Tensor) -> Tensor:
    """As the kernels take it, (N * K, G, L, D)."""
    return part_NLKGD.permute(0, 2, 3, 1, 4).flatten(0, 1)


def _tokens_first(part: Tensor, num_keys: int) -> Tensor:
    """The inverse of `_heads_first`."""
    return part.view(-1, num_keys, *part.shape[1:]).permute(0, 3, 1, 2, 4)


def _merged(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of the union of two disjoint sets of keys."""
    share = torch.sigmoid(other_lse - lse)[..., None]
    return out + (share * (other - out)).to(out.dtype), torch.logaddexp(lse, other_lse)
