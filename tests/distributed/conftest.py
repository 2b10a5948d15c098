"""A tiny student, and trainings of it by two ranks: one start of torchrun for all cases of a file."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import trainings
from transformers import LlamaConfig, LlamaForCausalLM

from medcritical.modeling.checkpoint import save_checkpoint
from medcritical.modeling.word_tokenizer import build_word_tokenizer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint of ten thousand weights, embeddings tied."""
    folder = tmp_path_factory.mktemp("student")
    tokenizer = build_word_tokenizer([f"w{number}" for number in range(40)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=trainings.VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.1,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        save_checkpoint(folder, LlamaForCausalLM(config), tokenizer)
    return folder


def run_ranks(cases: list[trainings.Case], student: Path, folder: Path, number: int = 2) -> str:
    """Trains all cases by `number` ranks, in one start of torchrun; what they printed."""
    trainings.write_cases(folder / "cases", cases)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(number), "--standalone"),
        *(trainings.__file__, str(folder / "cases"), str(student), str(folder)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def run_alone(cases: list[trainings.Case], student: Path, folder: Path) -> None:
    """Trains all cases in this process."""
    for case in cases:
        trainings.make_case(student, case, trainings.Ranks(), folder)
