"""A model of a few thousand weights, and configurations for it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from medcritical.batching import Example, PairExample
from medcritical.config.choices import Batching, Precision, Schedule
from medcritical.config.schema import OptimConfig, TrainerConfig
from medcritical.training import score_responses

PAD = 0
VOCABULARY = 17


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_model() -> Callable[..., LlamaForCausalLM]:
    """Builds the tiny model; equal seeds give equal weights."""

    def make(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            initializer_range=0.3,
            pad_token_id=PAD,
            bos_token_id=1,
            eos_token_id=2,
            **changes,
        )
        return in_float64(LlamaForCausalLM(config))

    return make


def in_float64(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The model with norms of float64: its own work in float32 whatever they are given, and hide differences."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "LlamaRMSNorm":
                setattr(module, name, torch.nn.RMSNorm(child.weight.shape[0], eps=child.variance_epsilon))
    return model.double()


@pytest.fixture
def make_optim() -> Callable[..., OptimConfig]:
    """Builds an OptimConfig."""

    def make(**changes: Any) -> OptimConfig:
        values: dict[str, Any] = {
            "learning_rate": 1e-2,
            "schedule": Schedule.constant,
            "warmup_steps": 0,
            "warmup_share": 0.0,
            "final_rate": 0.1,
            "weight_decay": 0.01,
            "batch_size": 6,
            "epochs": None,
            "steps": 3,
            "max_grad_norm": 1.0,
            "max_length": 64,
            "adam_beta1": 0.9,
            "adam_beta2": 0.98,
            "adam_epsilon": 1e-8,
        }
        return OptimConfig(**{**values, **changes})

    return make


@pytest.fixture
def make_trainer() -> Callable[..., TrainerConfig]:
    """Builds a TrainerConfig for the CPU."""

    def make(**changes: Any) -> TrainerConfig:
        values: dict[str, Any] = {
            "accelerator": "cpu",
            "precision": Precision.float32,
            "threads": None,
            "batching": Batching.packed,
            "micro_batch_tokens": 128,
            "micro_batch_size": 6,
            "gradient_checkpointing": False,
            "log_every_n_steps": 1,
            "checkpoint_every_steps": None,
            "time_limit": None,
            "records_per_file": 50_000,
        }
        return TrainerConfig(**{**values, **changes})

    return make


def _ids(low: int, high: int) -> list[int]:
    return torch.randint(3, VOCABULARY, (int(torch.randint(low, high, ())),)).tolist()


@pytest.fixture
def examples() -> list[Example]:
    """Ten examples of various lengths."""
    torch.manual_seed(5)
    return [Example(_ids(2, 7), [*_ids(1, 9), 2]) for _ in range(10)]


@pytest.fixture
def make_pairs(make_trainer: Callable[..., TrainerConfig]) -> Callable[..., list[PairExample]]:
    """Builds pairs whose reference is the model given; every third has no rejected response unless `all_contrasted`."""

    def make(reference: torch.nn.Module, number: int = 10, all_contrasted: bool = False) -> list[PairExample]:
        torch.manual_seed(6)
        prompts = [_ids(2, 7) for _ in range(number)]
        chosen = [[*_ids(1, 9), 2] for _ in range(number)]
        rejected = [[*_ids(1, 9), 2] for _ in range(number)]
        rows = [Example(p, r) for responses in (chosen, rejected) for p, r in zip(prompts, responses, strict=True)]
        logps = score_responses(reference, PAD, rows, make_trainer(), lambda *_: None)
        return [
            PairExample(prompts[i], chosen[i], None, None, None)
            if i % 3 == 2 and not all_contrasted
            else PairExample(prompts[i], chosen[i], rejected[i], logps[i], logps[number + i])
            for i in range(number)
        ]

    return make
