"""What the GPU benchmark works on: models of two real shapes, and questions of random tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from flops import Shape, Tokens, count_separate, count_shared, training_flops
from medcritical.modeling.checkpoint import Student
from medcritical.modeling.word_tokenizer import build_word_tokenizer
from workload import Group

Sizes = dict[str, int | bool]
"""Arguments of a Qwen2Config."""

SHAPES: dict[str, Sizes] = {
    "Qwen2.5-0.5B": {
        "num_hidden_layers": 24,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
        "tie_word_embeddings": True,
    },
    "Qwen2.5-7B": {
        "num_hidden_layers": 28,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
        "tie_word_embeddings": False,
    },
}
TINY: Sizes = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Load:
    """How much each turn trains on: questions with prompts and responses of random lengths, in tokens."""

    questions: int
    prompt: tuple[int, int]
    response: tuple[int, int]
    micro_tokens: Sequence[int]
    micros: Sequence[int]


FULL = Load(64, (100, 400), (200, 800), micro_tokens=(32_768, 16_384, 8_192), micros=(16, 8, 4, 2))
TOY = Load(4, (4, 9), (3, 8), micro_tokens=(256,), micros=(2,))


@dataclass(frozen=True)
class Task:
    """One case: what is trained on, its real tokens, and the FLOPs that each side cannot do without."""

    name: str
    groups: list[Group]
    is_sft: bool

    @property
    def num_tokens(self) -> int:
        """Tokens as TRL reads them, without padding."""
        if self.is_sft:
            return sum(len(group.prompt_ids) + len(group.chosen_ids) for group in self.groups)
        return sum(group.num_tokens for group in self.groups)

    def flops(self, shape: Shape, rank: int, *, is_shared: bool) -> int:
        """With a question's prompt read once, or once for each response of each pair."""
        counts = [self._count(group, is_shared) for group in self.groups]
        return training_flops(shape, sum(counts, Tokens(0, 0, 0)), rank)

    def _count(self, group: Group, is_shared: bool) -> Tokens:
        prompt, chosen = len(group.prompt_ids), len(group.chosen_ids)
        rejected = [] if self.is_sft else [len(ids) for ids in group.rejected_ids]
        if is_shared:
            return count_shared(prompt, [chosen, *rejected])
        pairs = [[chosen]] if self.is_sft else [[chosen, length] for length in rejected]
        return sum((count_separate(prompt, pair) for pair in pairs), Tokens(0, 0, 0))


def make_tasks(load: Load, vocabulary: int) -> list[Task]:
    """One pair per question, three wrong attempts against one correction, and SFT."""
    return [
        Task("DPO LoRA, 1 pair per question", random_groups(load, vocabulary, rejected=1), is_sft=False),
        Task("DPO LoRA, 3 wrong x 1 correction", random_groups(load, vocabulary, rejected=3), is_sft=False),
        Task("SFT LoRA, completion only", random_groups(load, vocabulary, rejected=0), is_sft=True),
    ]


def random_groups(load: Load, vocabulary: int, *, rejected: int) -> list[Group]:
    """Questions of random tokens and lengths, the same in every run."""
    rng = Random(0)

    def ids(bounds: tuple[int, int]) -> list[int]:
        return [rng.randrange(10, vocabulary) for _ in range(rng.randint(*bounds))]

    return [
        Group(ids(load.prompt), ids(load.response), [ids(load.response) for _ in range(rejected)])
        for _ in range(load.questions)
    ]


def random_student(sizes: Sizes, device: str, dtype: torch.dtype) -> Student:
    """A Qwen2 model with random weights on `device`, and a tokenizer that only lends its padding token."""
    torch.manual_seed(0)
    with torch.device(device):
        model: PreTrainedModel = Qwen2ForCausalLM._from_config(
            Qwen2Config(**sizes, max_position_embeddings=4096), dtype=dtype, attn_implementation="sdpa"
        )
    return Student(model, build_word_tokenizer(["word"]))
