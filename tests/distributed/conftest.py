"""A tiny student, and trainings of it by two ranks: one start of torchrun for all cases of a file."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import trainings
from transformers import LlamaConfig, LlamaForCausalLM

from medcritical.modeling.checkpoint import save_checkpoint
from medcritical.modeling.word_tokenizer import build_word_tokenizer

sys.path.append(str(Path(__file__).parent.parent / "modeling"))  # for packed_rows


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint of ten thousand weights, embeddings tied."""
    return save_student(tmp_path_factory.mktemp("student"), hidden_size=32, intermediate_size=48, num_hidden_layers=2)


@pytest.fixture(scope="session")
def big_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint of 26 million weights: 104 MB."""
    sizes = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 9}
    return save_student(tmp_path_factory.mktemp("big"), **sizes)


def save_student(folder: Path, **sizes: int) -> Path:
    """Writes a checkpoint of random weights, four heads in each layer."""
    tokenizer = build_word_tokenizer([f"w{number}" for number in range(40)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=trainings.VOCABULARY,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.1,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            **sizes,
        )
        save_checkpoint(folder, LlamaForCausalLM(config), tokenizer)
    return folder
