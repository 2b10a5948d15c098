"""Floating-point operations that a training step cannot do without: matrix products, a multiplication and an addition
each. Pure.

Counted: the linear layers, attention inside the causal triangle of what each token may see, and the language-model head
where it predicts a response token. Not counted: everything elementwise, recomputation, padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The matrices of a Llama or Qwen2 model."""

    num_layers: int
    hidden: int
    intermediate: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape that a transformers configuration describes."""
        return cls(
            num_layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            head_size=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            vocabulary=config.vocab_size,
        )

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the linear layers of one block: query, key, value, output, gate, up, down."""
        heads, kv_heads = self.num_heads * self.head_size, self.num_kv_heads * self.head_size
        return [
            *((self.hidden, width) for width in (heads, kv_heads, kv_heads)),
            (heads, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        ]

    @property
    def body_weights(self) -> int:
        """Weights of all blocks' linear layers."""
        return self.num_layers * sum(inputs * outputs for inputs, outputs in self.matrices)


@dataclass(frozen=True)
class Tokens:
    """What one pass reads: `read` tokens in all, `attended` (query, key) pairs, `scored` response tokens."""

    read: int
    attended: int
    scored: int

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.read + other.read, self.attended + other.attended, self.scored + other.scored)


def count_shared(prompt: int, responses: Sequence[int]) -> Tokens:
    """One prompt read once for all of its responses, each of which sees the prompt and itself."""
    attended = _triangle(prompt) + sum(prompt * length + _triangle(length) for length in responses)
    return Tokens(prompt + sum(responses), attended, sum(responses))


def count_separate(prompt: int, responses: Sequence[int]) -> Tokens:
    """The prompt read again with every response."""
    return sum((count_shared(prompt, [length]) for length in responses), Tokens(0, 0, 0))


def _triangle(length: int) -> int:
    return length * (length + 1) // 2


def forward_flops(shape: Shape, tokens: Tokens) -> int:
    """One pass without gradients, as for the reference."""
    body = 2 * tokens.read * shape.body_weights
    return body + _attention_flops(shape, tokens) + _head_flops(shape, tokens)


def training_flops(shape: Shape, tokens: Tokens, lora_rank: int | None) -> int:
    """Forward and backward of one step: all weights trained, or adapters of `lora_rank` on every linear layer.

    The backward pass costs a product for the inputs' gradient and one for the weights'; frozen weights have no gradient.
    Attention's backward has four products to the forward's two. The first block's query, key and value, with frozen
    embeddings below, pass no gradient on; a tied or frozen head is counted as frozen under LoRA, as trained otherwise.
    """
    head = _head_flops(shape, tokens)
    attention = 3 * _attention_flops(shape, tokens)
    if lora_rank is None:
        return 6 * tokens.read * shape.body_weights + attention + 3 * head
    first = sum(inputs * outputs for inputs, outputs in shape.matrices[:3])
    adapters = shape.num_layers * sum(lora_rank * (inputs + outputs) for inputs, outputs in shape.matrices)
    body = 2 * tokens.read * (2 * shape.body_weights - first + 3 * adapters)
    return body + attention + 2 * head


def _attention_flops(shape: Shape, tokens: Tokens) -> int:
    """Queries by keys, and probabilities by values."""
    return 4 * tokens.attended * shape.num_layers * shape.num_heads * shape.head_size


def _head_flops(shape: Shape, tokens: Tokens) -> int:
    return 2 * tokens.scored * shape.hidden * shape.vocabulary


def utilisation(flops: float, seconds: float, peak: float) -> float:
    """Share of the `peak` rate, FLOP/s, that doing `flops` in `seconds` is: model FLOPs utilisation."""
    return flops / seconds / peak
