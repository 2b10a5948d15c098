"""Decoding over the forward pass of any Hugging Face causal language model: a response that ends makes room for another.

R responses in all, B of them decoded at a time (one a slot), U different prompts, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from medcritical.generation.cache import RoomyCache, Rows
from medcritical.generation.engine import Sampling
from medcritical.generation.sampling import draw_tokens, draw_uniforms

# A row that has ended still costs its part of a step; taking rows out or in costs a copy of the cache. Rows that join
# lengthen the window that all read: with the clinic's student it costs a fifth of the speed, so none join (docs/log.md).
SHRINK_ABOVE = 0.25  # share of the rows that must have ended
REFILL_BELOW = 0.0  # share of the rows allowed that must go on, lest others join


@dataclass(frozen=True)
class Response:
    """One response to be written: what it answers, how many tokens it may have, and the seed of its random numbers."""

    prompt: tuple[int, ...]
    budget: int
    seed: int

    @property
    def length(self) -> int:
        """Most tokens that it can come to with its prompt."""
        return len(self.prompt) + self.budget


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    responses: Sequence[Response],
    sampling: Sampling,
    *,
    max_rows: int,
    stop_ids: Collection[int],
    only_ids: Collection[int] = (),
    on_ended: Callable[[int], None],
) -> list[list[int]]:
    """Return the new token ids of every response, the stop id included where one was chosen.

    Responses begin in the order given. Equal prompts that stand together are read once. At most `max_rows` responses
    are decoded at a time; `on_ended` hears how many have just left. With `only_ids` no other token is written.
    """
    decoder = _Decoder(model, responses, sampling, max_rows, stop_ids, only_ids)
    decoder.change()
    while decoder.is_running:
        decoder.advance()
        if decoder.is_change_due:
            on_ended(decoder.change())
    return decoder.written


@dataclass
class _Rows:
    """What is known of the responses being decoded. A row that has ended stands still until it is taken out.

    `numbers_B` are places in the call, `lengths_B` prompt lengths, `counts_B` tokens written, `tokens_BT` those
    tokens, `uniforms_BT` what they are drawn with, `last_B` the newest token. T is one more than any budget, for what a
    row that has ended goes on to draw.
    """

    numbers_B: Tensor
    lengths_B: Tensor
    budgets_B: Tensor
    counts_B: Tensor
    is_ended_B: Tensor
    uniforms_BT: Tensor
    tokens_BT: Tensor
    last_B: Tensor

    def __len__(self) -> int:
        return len(self.numbers_B)

    @property
    def fed_B(self) -> Tensor:
        """Tokens that the model has read of every row: all but the newest. Also the newest one's position."""
        return self.lengths_B + self.counts_B - 1

    def keep(self, kept_B: Tensor) -> None:
        """Drop all rows but these."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name)[kept_B])

    def add(self, others: _Rows) -> None:
        """Put other rows under these."""
        for item in fields(self):
            setattr(self, item.name, torch.cat([getattr(self, item.name), getattr(others, item.name)]))

    def choose(self, logits_BV: Tensor, sampling: Sampling, stops: Tensor) -> None:
        """Draw every row's next token and note which rows end with it."""
        every_B = torch.arange(len(self), device=logits_BV.device)
        uniforms_B = self.uniforms_BT[every_B, self.counts_B]
        self.last_B = draw_tokens(logits_BV, uniforms_B, temperature=sampling.temperature, top_p=sampling.top_p)
        self.tokens_BT[every_B, self.counts_B] = self.last_B
        self.counts_B = self.counts_B + ~self.is_ended_B
        self.is_ended_B = self.is_ended_B | torch.isin(self.last_B, stops) | (self.counts_B >= self.budgets_B)


class _Decoder:
    """Responses being decoded, those that wait, and those that are written."""

    def __init__(
        self,
        model: PreTrainedModel,
        responses: Sequence[Response],
        sampling: Sampling,
        max_rows: int,
        stop_ids: Collection[int],
        only_ids: Collection[int],
    ) -> None:
        self.model, self.responses, self.sampling, self.max_rows = model, responses, sampling, max_rows
        self.stops = torch.tensor(sorted(stop_ids), dtype=torch.long, device=model.device)
        self.only = torch.tensor(sorted(only_ids), dtype=torch.long, device=model.device)
        self.written: list[list[int]] = [[] for _ in responses]
        self.num_begun = 0
        self.rows = self._rows(range(0))
        self.cache: RoomyCache  # of the first change
        self.starts_B: Tensor  # columns of the prompts' first tokens

    @property
    def is_running(self) -> bool:
        """False when every response is written."""
        return len(self.rows) > 0

    @property
    def is_change_due(self) -> bool:
        """True when so many rows have ended that the others are better off without them, or with new ones."""
        num_ended = int(self.rows.is_ended_B.sum())
        return num_ended == len(self.rows) or num_ended > SHRINK_ABOVE * len(self.rows)

    def advance(self) -> None:
        """Feed every row's newest token and draw the next one."""
        rows, columns_T = self.rows, torch.arange(self.cache.width + 1, device=self.model.device)
        logits_BV = self.model(
            input_ids=rows.last_B[:, None],
            attention_mask=columns_T >= self.starts_B[:, None],
            position_ids=rows.fed_B[:, None],
            past_key_values=self.cache,
            logits_to_keep=1,
        ).logits[:, -1]
        rows.choose(self._allowed(logits_BV), self.sampling, self.stops)

    def change(self) -> int:
        """Take out the rows that have ended and let others begin where there is room; returns how many have ended."""
        num_ended, parts = self._collect(), list[Rows]()
        if self.is_running:
            kept_B = (~self.rows.is_ended_B).nonzero()[:, 0]
            parts.append((self.cache, kept_B))
            self.rows.keep(kept_B)
        if len(self.rows) <= REFILL_BELOW * self.max_rows and self.num_begun < len(self.responses):
            numbers = self._take(self.max_rows - len(self.rows))
            prompts, logits_UV, sources_B = self._read(numbers)
            begun = self._rows(numbers)
            begun.choose(self._allowed(logits_UV[sources_B]), self.sampling, self.stops)
            parts.append((prompts, sources_B))
            self.rows.add(begun)
        if self.is_running:
            room = int((self.rows.budgets_B - self.rows.counts_B).max())
            self.cache = RoomyCache(parts, width=int(self.rows.fed_B.max()), room=max(room, 1))
            self.starts_B = self.cache.width - self.rows.fed_B
        return num_ended

    def _allowed(self, logits_BV: Tensor) -> Tensor:
        """The logits, minus infinity where a token must not be written."""
        if not len(self.only):
            return logits_BV
        allowed_BV = torch.full_like(logits_BV, -torch.inf)
        allowed_BV[:, self.only] = logits_BV[:, self.only]
        return allowed_BV

    def _collect(self) -> int:
        """Note what the rows that have ended wrote; returns their number."""
        rows, ended_B = self.rows, self.rows.is_ended_B
        numbers, counts = rows.numbers_B[ended_B].tolist(), rows.counts_B[ended_B].tolist()
        for number, count, ids in zip(numbers, counts, rows.tokens_BT[ended_B].tolist(), strict=True):
            self.written[number] = ids[:count]
        return len(numbers)

    def _take(self, most: int) -> range:
        """The next responses to begin, at most so many; those with one prompt are not parted where that can be."""
        first, last = self.num_begun, min(self.num_begun + most, len(self.responses))
        end = last
        while first < end < len(self.responses) and self.responses[end].prompt == self.responses[end - 1].prompt:
            end -= 1
        self.num_begun = end if end > first else last
        return range(first, self.num_begun)

    def _read(self, numbers: range) -> tuple[DynamicCache, Tensor, Tensor]:
        """Run every different prompt through the model once: cache, next logits [U, V], and each response's prompt [B]."""
        prompts = [self.responses[number].prompt for number in numbers]
        rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
        width, device, cache = max(map(len, rows)), self.model.device, DynamicCache()
        ids_UT = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in rows], device=device)
        lengths_U = torch.tensor([len(prompt) for prompt in rows], device=device)
        places_UT = torch.arange(width, device=device) - (width - lengths_U)[:, None]
        logits_UV = self.model(
            input_ids=ids_UT,
            attention_mask=places_UT >= 0,
            position_ids=places_UT.clamp(min=0),
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        return cache, logits_UV, torch.tensor([rows[prompt] for prompt in prompts], device=device)

    def _rows(self, numbers: range) -> _Rows:
        """Rows for responses that begin."""
        begun, device = [self.responses[number] for number in numbers], self.model.device
        num_steps = self.sampling.max_new_tokens + 1
        return _Rows(
            numbers_B=torch.tensor(numbers, dtype=torch.long, device=device),
            lengths_B=torch.tensor([len(one.prompt) for one in begun], dtype=torch.long, device=device),
            budgets_B=torch.tensor([one.budget for one in begun], dtype=torch.long, device=device),
            counts_B=torch.zeros(len(begun), dtype=torch.long, device=device),
            is_ended_B=torch.zeros(len(begun), dtype=torch.bool, device=device),
            uniforms_BT=draw_uniforms([one.seed for one in begun], num_steps).to(device),
            tokens_BT=torch.zeros(len(begun), num_steps, dtype=torch.long, device=device),
            last_B=torch.zeros(len(begun), dtype=torch.long, device=device),
        )
