"""Attention of a packed row: a response sees its prompt and itself.

`PACKED` is an attention implementation of transformers. A model that runs with it is given `questions`, which say
where prompts and responses are. On a CPU no block that the mask would empty is computed; on a GPU, FlexAttention skips
them. `dense_mask` says the same as a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from medcritical.batching import Question
from medcritical.modeling.block_attention import block_attention

PACKED = "packed"

RECOMPILATIONS = 64
"""Variants of a compiled function, for all models of a process. torch's own limit is 8."""


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
        out_1HTD = block_attention(query, key, value, questions, scaling)
    else:
        out_1HTD = flex_attention_of_row(query, key, value, questions, scaling)
    return out_1HTD.transpose(1, 2), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """The questions are the mask."""


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)


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


def flex_attention_of_row(
    query: Tensor, key: Tensor, value: Tensor, questions: tuple[Question, ...], scaling: float | None
) -> Tensor:
    """What `block_attention` gives, by FlexAttention: compiled, unless torch's stance is `force_eager`."""
    attend, _ = _compiled()
    mask = _block_mask(questions, query.shape[2], query.device)
    return attend(query, key, value, block_mask=mask, scale=scaling, enable_gqa=query.shape[1] > key.shape[1])


@lru_cache(maxsize=1)
def _block_mask(questions: tuple[Question, ...], num_tokens: int, device: torch.device) -> Any:
    """Made once for all layers of a forward pass, and for those that checkpointing runs again."""
    _, create = _compiled()
    # A row that is scored in inference mode may be the next that is trained on: autograd saves no inference tensors.
    with torch.inference_mode(False):
        return create(flex_mask(questions, device), None, None, num_tokens, num_tokens, device=device)


@lru_cache(maxsize=1)
def _compiled() -> tuple[Callable[..., Tensor], Callable[..., Any]]:
    """FlexAttention and the maker of its mask. Not compiled, each would hold a matrix of all tokens by all tokens.

    Beyond its limit of recompilations torch runs a function uncompiled without a word; `fullgraph` makes that an error.
    The limit is raised for the kinds of row there are: trained or scored, by type, longer than a kernel's block or not.
    """
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch._dynamo.config.recompile_limit = max(RECOMPILATIONS, torch._dynamo.config.recompile_limit)
    return (
        torch.compile(flex_attention, dynamic=True, fullgraph=True),
        torch.compile(create_block_mask, dynamic=True, fullgraph=True),
    )
