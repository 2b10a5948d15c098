"""A tiny random student whose greedy answers differ from prompt to prompt, and end now and then."""

import random
from collections.abc import Sequence

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from medcritical.modeling.checkpoint import Student
from medcritical.modeling.word_tokenizer import build_word_tokenizer
from medcritical.records import Prompt

NUM_WORDS = 30


def build_student(
    num_words: int, initializer_range: float, seed: int = 0, positions: int = 96, words: Sequence[str] = ()
) -> Student:
    tokenizer = build_word_tokenizer([*(f"w{number}" for number in range(num_words)), *words])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=initializer_range,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return Student(model.eval(), tokenizer)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_student():
    return build_student


@pytest.fixture(scope="session")
def student() -> Student:
    return build_student(NUM_WORDS, initializer_range=0.4)


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    """50 prompts of 1 to 40 words, no two alike."""
    rng = random.Random(0)
    texts = (" ".join(f"w{rng.randrange(NUM_WORDS)}" for _ in range(rng.randint(1, 40))) for _ in range(50))
    return [Prompt(system="", user=text) for text in texts]
