"""Batched decoding over the forward pass of any Hugging Face causal language model, with its key-value cache.

R rows in all, B rows still in the batch, U different prompts, T positions, V vocabulary.

A preallocated cache in place of one that grows by concatenation was tried: 5 % faster, not worth a class.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

# A finished row still costs a forward pass; taking rows out costs a copy of the cache. A quarter balances the two.
COMPACT_ABOVE = 0.25

ChooseTokens = Callable[[Tensor, Tensor, int], Tensor]


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    budgets: Sequence[int],
    *,
    stop_ids: Collection[int],
    choose: ChooseTokens,
    on_ended: Callable[[int], None],
) -> list[list[int]]:
    """Return the new token ids of every prompt, the stop id included where one was chosen.

    Equal prompts are read once and share that work. A row ends at a stop id or after `budgets[row]` tokens.
    `choose(logits_BV, rows_B, step)` returns the next ids [B]; `on_ended` hears how many rows have just left.
    """
    num_steps = max(budgets)
    batch = _read_prompts(model, prompts, num_steps)
    stops = torch.tensor(sorted(stop_ids), device=model.device)
    budgets_R = torch.tensor(budgets, device=model.device)
    tokens_RT = torch.zeros(len(prompts), num_steps, dtype=torch.long, device=model.device)
    is_ended_B = torch.zeros(len(prompts), dtype=torch.bool, device=model.device)
    for step in range(num_steps):
        chosen_B = choose(batch.logits_BV, batch.rows_B, step)
        tokens_RT[batch.rows_B, step] = chosen_B
        is_ended_B = is_ended_B | torch.isin(chosen_B, stops) | (budgets_R[batch.rows_B] == step + 1)
        num_ended = int(is_ended_B.sum())
        if num_ended == len(is_ended_B):
            break
        if num_ended > COMPACT_ABOVE * len(is_ended_B):
            kept_B = (~is_ended_B).nonzero()[:, 0]
            batch.keep(kept_B)
            chosen_B, is_ended_B = chosen_B[kept_B], is_ended_B[kept_B]
            on_ended(num_ended)
        batch.advance(model, chosen_B, step)
    on_ended(num_ended)
    return [_cut(row, budget, stop_ids) for row, budget in zip(tokens_RT.tolist(), budgets, strict=True)]


@dataclass
class _Batch:
    """Rows being decoded. Padding is on the left, so every row writes its next token at the same place of the cache.

    `rows_B` are row numbers in the call, `lengths_B` prompt lengths, `is_token_BT` false on padding, for the prompt's
    width and all steps to come; `logits_BV` are for the next token.
    """

    cache: DynamicCache
    logits_BV: Tensor
    rows_B: Tensor
    lengths_B: Tensor
    is_token_BT: Tensor
    width: int

    def keep(self, kept_B: Tensor) -> None:
        """Drop all rows but those at the positions `kept_B`. `logits_BV` is spent when this is called."""
        self.cache.batch_select_indices(kept_B)
        self.rows_B = self.rows_B[kept_B]
        self.lengths_B = self.lengths_B[kept_B]
        self.is_token_BT = self.is_token_BT[kept_B]

    def advance(self, model: PreTrainedModel, chosen_B: Tensor, step: int) -> None:
        """Feed the tokens chosen at `step` and take the logits for the next one."""
        self.logits_BV = model(
            input_ids=chosen_B[:, None],
            attention_mask=self.is_token_BT[:, : self.width + step + 1],
            position_ids=(self.lengths_B + step)[:, None],
            past_key_values=self.cache,
            logits_to_keep=1,
        ).logits[:, -1]


def _read_prompts(model: PreTrainedModel, prompts: Sequence[Sequence[int]], num_steps: int) -> _Batch:
    """Run every different prompt through the model once, then repeat cache and logits for the rows that ask it."""
    different = {tuple(prompt): number for number, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    width = max(map(len, different))
    ids = [[0] * (width - len(prompt)) + list(prompt) for prompt in different]
    is_token = [[False] * (width - len(prompt)) + [True] * (len(prompt) + num_steps) for prompt in different]
    is_token_UT = torch.tensor(is_token, device=model.device)
    lengths_U = torch.tensor([len(prompt) for prompt in different], device=model.device)
    cache = DynamicCache(config=model.config)
    logits_UV = model(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=is_token_UT[:, :width],
        position_ids=(is_token_UT[:, :width].cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        logits_to_keep=1,
    ).logits[:, -1]
    source_B = torch.tensor([different[tuple(prompt)] for prompt in prompts], device=model.device)
    cache.batch_select_indices(source_B)
    rows_B = torch.arange(len(prompts), device=model.device)
    return _Batch(cache, logits_UV[source_B], rows_B, lengths_U[source_B], is_token_UT[source_B], width)


def _cut(tokens: list[int], budget: int, stop_ids: Collection[int]) -> list[int]:
    """Return `tokens` up to its first stop id or its budget: a row that has ended is fed until it is taken out."""
    stop = next((number for number, token in enumerate(tokens[:budget]) if token in stop_ids), budget - 1)
    return tokens[: stop + 1]
