"""Counting of floating-point operations, by hand on a model of small numbers."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM


@pytest.fixture
def flops(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("flops")


def test_tokens_of_a_shared_prompt_by_hand(flops: ModuleType) -> None:
    # Prompt of 3: 1 + 2 + 3 pairs. Responses of 2 and 1: 2 * 3 + (1 + 2), and 1 * 3 + 1.
    assert flops.count_shared(3, [2, 1]) == flops.Tokens(read=6, attended=6 + 9 + 4, scored=3)
    # Separately, the prompt and its 6 pairs count twice.
    assert flops.count_separate(3, [2, 1]) == flops.Tokens(read=9, attended=6 + 9 + 6 + 4, scored=3)


def test_training_flops_by_hand(flops: ModuleType) -> None:
    shape = flops.Shape(num_layers=2, hidden=4, intermediate=6, num_heads=2, num_kv_heads=1, head_size=2, vocabulary=10)
    # q 4x4, k and v 4x2, o 4x4, gate and up 4x6, down 6x4.
    assert shape.body_weights == 2 * (16 + 8 + 8 + 16 + 24 + 24 + 24)
    tokens = flops.Tokens(read=5, attended=15, scored=3)
    attention, head = 4 * 15 * 2 * 2 * 2, 2 * 3 * 4 * 10
    assert flops.forward_flops(shape, tokens) == 2 * 5 * 240 + attention + head
    assert flops.training_flops(shape, tokens, None) == 6 * 5 * 240 + 3 * attention + 3 * head
    # Rank 1: per layer inputs + outputs of each matrix; no input gradient through the first q, k and v (32 weights).
    adapters = 2 * (8 + 6 + 6 + 8 + 10 + 10 + 10)
    expected = 2 * 5 * (2 * 240 - 32 + 3 * adapters) + 3 * attention + 2 * head
    assert flops.training_flops(shape, tokens, 1) == expected


def test_the_forward_pass_counts_as_torch_counts_it(flops: ModuleType) -> None:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",
    )
    model, length = LlamaForCausalLM(config), 16
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.arange(length)[None], use_cache=False)
    rotary = 2 * 16 * 4  # angles: positions times frequencies, half of a head each
    # torch's eager attention computes the whole square, and the head is asked at every position.
    tokens = flops.Tokens(read=length, attended=length**2, scored=length)
    assert counter.get_total_flops() in (
        flops.forward_flops(flops.Shape.of(config), tokens),
        flops.forward_flops(flops.Shape.of(config), tokens) + rotary,
    )


def test_utilisation_is_the_share_of_the_peak(flops: ModuleType) -> None:
    assert flops.utilisation(3e12, seconds=2.0, peak=6e12) == 0.25
