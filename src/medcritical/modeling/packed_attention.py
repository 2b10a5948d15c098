"""Attention of a packed row: a response sees its prompt and itself.

`PACKED` is an attention implementation of transformers. A model that runs with it is given `questions`, which say
where prompts and responses are. On a CPU no block that the mask would empty is computed; on a GPU, FlexAttention skips
them. `dense_mask` says the same as a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface

from medcritical.batching import Question

PACKED = "packed"

_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Block(NamedTuple):
    """Queries that see keys: all of them, or, where the ranges are one, those up to their own position."""

    queries: slice
    keys: slice

    @property
    def is_causal(self) -> bool:
        """True for a range that looks at itself."""
        return self.queries == self.keys


def attention_blocks(questions: Sequence[Question]) -> Iterator[Block]:
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
            yield Block(own, own)
            start += length


def dense_mask(questions: Sequence[Question]) -> Tensor:
    """True where a query (row) sees a key (column), shape (T, T)."""
    places_2T = _places(questions)
    position = torch.arange(places_2T.shape[1])
    sees: Tensor = _sees(places_2T, position[:, None], position[None, :])
    return sees


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    questions: tuple[Question, ...] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer. Legend: H heads, K key heads, T tokens, D width of a head.

    Args:
        query, key, value: of shapes (1, H, T, D), (1, K, T, D), (1, K, T, D).
        questions: of the packed row; the model hands them through from its own arguments.

    Returns:
        Shape (1, T, H, D), and None in place of the weights.
    """
    assert questions is not None, "the model does not hand its arguments through to its attention"
    assert not dropout, "a prompt is shared by its responses: dropout would be, too"
    device = query.device.type
    if torch.is_autocast_enabled(device):
        # As autocast does with torch's own attention: queries and keys come out of the rotary embedding as float32.
        query, key, value = (tensor.to(torch.get_autocast_dtype(device)) for tensor in (query, key, value))
    if device == "cpu":
        out_1HTD = _attend_blocks(query, key, value, questions, scaling)
    else:
        out_1HTD = _flex(query, key, value, questions, scaling)
    return out_1HTD.transpose(1, 2), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """The questions are the mask."""


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)


def _attend_blocks(
    query: Tensor, key: Tensor, value: Tensor, questions: Sequence[Question], scaling: float | None
) -> Tensor:
    """Key heads become the batch and the queries of one its heads: keys need no copies for grouped queries."""
    _, num_heads, num_tokens, width = query.shape
    num_keys = key.shape[1]
    query_KGTD = query.view(num_keys, num_heads // num_keys, num_tokens, width)
    blocks = tuple(attention_blocks(questions))
    out_KGTD: Tensor = _BlockAttention.apply(query_KGTD, key[0], value[0], blocks, scaling)  # type: ignore[no-untyped-call]
    return out_KGTD.flatten(0, 1)[None]


class _BlockAttention(torch.autograd.Function):
    """Softmax attention over a list of blocks, where a query may be in two: over its prompt and over itself.

    Each block gives its output and log-sum-exp; those of two blocks are merged by their share of the joint sum. The
    gradient of a block follows from the joint output and log-sum-exp, so that no more than these is kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_KGTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        blocks: tuple[Block, ...],
        scaling: float | None,
    ) -> Tensor:
        num_keys, num_groups, num_tokens, width = query_KGTD.shape
        # As the next projection wants it: tokens first.
        out_KGTD = query_KGTD.new_empty(num_tokens, num_keys, num_groups, width).permute(1, 2, 0, 3)
        wide = torch.promote_types(query_KGTD.dtype, torch.float32)
        lse_KGT = query_KGTD.new_empty(num_tokens, num_keys, num_groups, dtype=wide).permute(1, 2, 0)
        done = 0
        for block in blocks:
            part, lse = _attend(*_cut(query_KGTD, key_KTD, value_KTD, block), is_causal=block.is_causal, scale=scaling)
            if block.queries.start >= done:
                out_KGTD[:, :, block.queries] = part
                lse_KGT[:, :, block.queries] = lse
                done = block.queries.stop
            else:
                _merge(out_KGTD[:, :, block.queries], lse_KGT[:, :, block.queries], part, lse)
        ctx.save_for_backward(query_KGTD, key_KTD, value_KTD, out_KGTD, lse_KGT)
        ctx.blocks, ctx.scaling = blocks, scaling
        return out_KGTD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_KGTD: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query_KGTD, key_KTD, value_KTD, out_KGTD, lse_KGT = ctx.saved_tensors
        wide = lse_KGT.dtype
        gradients = [torch.zeros_like(tensor, dtype=wide) for tensor in (query_KGTD, key_KTD, value_KTD)]
        for block in ctx.blocks:
            parts = _attend_backward(
                upstream_KGTD[:, :, block.queries],
                *_cut(query_KGTD, key_KTD, value_KTD, block),
                out_KGTD[:, :, block.queries],
                lse_KGT[:, :, block.queries],
                0.0,
                block.is_causal,
                scale=ctx.scaling,
            )
            gradients[0][:, :, block.queries] += parts[0]
            for gradient, part in zip(gradients[1:], parts[1:], strict=True):
                gradient[:, block.keys] += part.sum(1, dtype=wide)
        query, key, value = (gradient.to(query_KGTD.dtype) for gradient in gradients)
        return query, key, value, None, None


def _cut(query_KGTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a block; keys and values are seen, not copied, by each query of their group."""
    shape = (-1, query_KGTD.shape[1], -1, -1)
    key = key_KTD[:, None, block.keys].expand(shape)
    value = value_KTD[:, None, block.keys].expand(shape)
    return query_KGTD[:, :, block.queries], key, value


def _merge(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> None:
    """Makes `out` and `lse` those of the union of two disjoint sets of keys."""
    share = torch.sigmoid(other_lse - lse)
    out += (share[..., None] * (other - out)).to(out.dtype)
    lse.copy_(torch.logaddexp(lse, other_lse))


def _places(questions: Sequence[Question]) -> Tensor:
    """For each position its question and its response, 0 for the prompt; shape (2, T)."""
    numbers, lengths = [], []
    for number, question in enumerate(questions):
        for response, length in enumerate((question.prompt, *question.responses)):
            numbers.append((number, response))
            lengths.append(length)
    return torch.tensor(numbers).repeat_interleave(torch.tensor(lengths), dim=0).T.contiguous()


def _sees(places_2T: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Whether positions `query` see positions `key`: what comes before in the own response or in its prompt."""
    question_T, response_T = places_2T[0], places_2T[1]
    is_same_question = question_T[query] == question_T[key]
    is_own_or_prompt = (response_T[key] == 0) | (response_T[query] == response_T[key])
    return (query >= key) & is_same_question & is_own_or_prompt


def flex_mask(questions: Sequence[Question], device: torch.device | str) -> Callable[..., Tensor]:
    """The mask as FlexAttention wants it: a function of batch, head, query and key position."""
    places_2T = _places(questions).to(device)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return _sees(places_2T, query, key)

    return sees


@lru_cache(maxsize=1)
def _flex_block_mask(questions: tuple[Question, ...], num_tokens: int, device: torch.device) -> Any:
    """Made once for all layers of a forward pass, and for those that checkpointing runs again."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(flex_mask(questions, device), None, None, num_tokens, num_tokens, device=device)


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=True)
    return compiled


def _flex(query: Tensor, key: Tensor, value: Tensor, questions: tuple[Question, ...], scaling: float | None) -> Tensor:
    mask = _flex_block_mask(questions, query.shape[2], query.device)
    return _compiled_flex()(query, key, value, block_mask=mask, scale=scaling, enable_gqa=query.shape[1] > key.shape[1])
