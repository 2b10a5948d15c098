"""Causal language models on packed rows: which can be, what makes them so, and what they then compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from medcritical.batching import PackedRow
from medcritical.errors import ConfigError
from medcritical.modeling.packed_attention import PACKED
from medcritical.objectives.head import token_logps

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose packed rows are tested against plain forward passes, sequence by sequence."""

LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
"""Rotary scalings that give a token another embedding when a longer sequence is in the row."""


@contextmanager
def packed(model: nn.Module, *, is_trained: bool = True) -> Iterator[None]:
    """Within the block, `model` runs on packed rows.

    Raises:
        ConfigError: it cannot; the message says why.
    """
    base = base_model(model)
    check_packable(base, is_trained=is_trained)
    head, before = base.get_output_embeddings(), base.config._attn_implementation
    base.set_attn_implementation(PACKED)
    # Its class alone is changed: weights, hooks and names of the module stay what they are.
    head.__class__ = ResponseHead
    try:
        yield
    finally:
        head.__class__ = nn.Linear
        base.set_attn_implementation(before)


def response_logps(model: nn.Module, row: PackedRow) -> tuple[Tensor, Tensor]:
    """Log-probability and length of each sequence's response, as `objectives.sequence_logps` gives them, shape (S,).

    Only hidden states that predict a response token go through the head. `model` must be `packed`.
    """
    base = base_model(model)
    body = getattr(base, base.base_model_prefix)
    hidden_1TD = body(
        input_ids=row.input_ids_1T, position_ids=row.position_ids_1T, questions=row.questions, use_cache=False
    ).last_hidden_state
    # The head is called as the module that it is: what gathers sharded weights around a forward pass sees it.
    logps_N = base.get_output_embeddings()(hidden_1TD[0].index_select(0, row.predicted_by_N), row.targets_N)
    sums_S = logps_N.new_zeros(len(row.lengths_S)).index_add(0, row.sequence_N, logps_N)
    return sums_S, row.lengths_S


class ResponseHead(nn.Linear):
    """An output embedding that gives log-probabilities of target tokens in place of logits."""

    def forward(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:  # type: ignore[override]
        """Nats, shape (N,)."""
        return token_logps(hidden_ND, self.weight, targets_N, self.bias)


def base_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model, without the adapters around it."""
    base: PreTrainedModel = model.get_base_model() if isinstance(model, PeftModel) else model
    return base


def check_packable(base: PreTrainedModel, *, is_trained: bool) -> None:
    """Raise ConfigError for a model that packed rows would compute wrongly."""
    reason = _reason_against(base)
    if is_trained and any(getattr(module, "attention_dropout", 0) for module in base.modules()):
        reason = "it has attention dropout, and responses share the attention of their prompt"
    if reason is not None:
        raise ConfigError(f"trainer.batching=packed cannot train this model: {reason}. Set trainer.batching=padded.")


def _reason_against(base: PreTrainedModel) -> str | None:
    config = base.config
    if not type(base).__module__.startswith("transformers.models."):
        return "it brings its own code"
    if config.model_type not in ARCHITECTURES:
        return f"its type {config.model_type} is none of {', '.join(ARCHITECTURES)}"
    layer_types = set(getattr(config, "layer_types", None) or ())
    if layer_types - {"full_attention"} or (not layer_types and getattr(config, "sliding_window", None)):
        return "its attention is limited to a sliding window"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope in LENGTH_DEPENDENT_ROPE:
        return f"its positions ({rope}) depend on the length of the longest sequence"
    head = base.get_output_embeddings()
    if type(head) is not nn.Linear:
        return f"its output embedding is a {type(head).__name__}, with an adapter or quantized"
    return None
