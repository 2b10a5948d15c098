"""Memory of weights, gradients and optimizer per GPU, by strategy, number of GPUs and size of model: nothing is run.

    python benchmarks/memory.py       # ten seconds; prints the tables of docs/clusters.md

Models have the shapes of Qwen2.5 and are built on torch's meta device from their published configurations, so they hold no
weights. For ZeRO the numbers are DeepSpeed's own estimators' (deepspeed.runtime.zero), for DDP and ZeRO 1, for which it has
none, bytes per weight counted by the same rules. Activations, logits, fragmentation, NCCL's and CUDA's own memory are in
none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import peft
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from gpu_work import SHAPES, Sizes
from medcritical.modeling.device import narrow_frozen

MODELS: dict[str, Sizes] = {
    **SHAPES,
    "Qwen2.5-32B": {
        "num_hidden_layers": 64,
        "hidden_size": 5120,
        "intermediate_size": 27_648,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "vocab_size": 152_064,
        "tie_word_embeddings": False,
    },
}
GPUS = (1, 8, 16, 64)
GPUS_PER_NODE = 8
RANK = 8
STRATEGIES = ("ddp", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
GIB = 2**30


@dataclass(frozen=True)
class Count:
    """Weights of a model: all, those that are trained, those of its largest layer, and frozen ones that DDP makes bfloat16."""

    all: int
    trained: int
    largest_layer: int
    narrowed: int = 0

    @property
    def frozen(self) -> int:
        """Weights that have neither gradient nor optimizer state."""
        return self.all - self.trained


def count_weights(sizes: Sizes, lora_rank: int | None) -> Count:
    """The weights of a model of this shape, with all of them trained or adapters on every linear layer.

    DeepSpeed counts by address, to see tied weights once; on the meta device all addresses are 0. torch counts by identity.
    """
    with torch.device("meta"):
        whole = Qwen2ForCausalLM(Qwen2Config(**sizes))
    model = whole if lora_rank is None else _with_adapters(whole, lora_rank)
    layers = (sum(weight.numel() for weight in layer.parameters(recurse=False)) for layer in model.modules())
    weights = list(model.parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return Count(sum(weight.numel() for weight in weights), trained, max(layers), narrow_frozen(model))


def _with_adapters(model: PreTrainedModel, rank: int) -> torch.nn.Module:
    """As `medcritical.modeling.lora` does, which also looks at the numbers; there are none here."""
    lora = peft.LoraConfig(r=rank, target_modules="all-linear", task_type=peft.TaskType.CAUSAL_LM)
    with torch.device("meta"):
        adapted: torch.nn.Module = peft.get_peft_model(model, lora)
    return adapted


def gpu_bytes(strategy: str, count: Count, num_gpus: int) -> int:
    """Bytes of model states on each GPU.

    Frozen weights are 2 bytes each (bfloat16) under ZeRO, cut up under ZeRO 3; under DDP in bfloat16 those of embeddings 4.
    """
    nodes = max(1, num_gpus // GPUS_PER_NODE)
    per_node = {"num_gpus_per_node": num_gpus // nodes, "num_nodes": nodes}
    match strategy:
        case "ddp":  # float32 weights, gradients and two moments
            return 16 * count.trained + 4 * count.frozen - 2 * count.narrowed
        case "zero1":  # bfloat16 weights and gradients; float32 gradients, weights and moments in parts
            return 4 * count.trained + 16 * count.trained // num_gpus + 2 * count.frozen
        case "zero2" | "zero2_offload":
            offloads = strategy == "zero2_offload"
            _, gpu = estimate_zero2_model_states_mem_needs(count.trained, **per_node, cpu_offload=offloads)
            return int(gpu) + 2 * count.frozen
        case "zero3" | "zero3_offload":
            offloads = strategy == "zero3_offload"
            _, gpu, _ = estimate_zero3_model_states_mem_needs(
                count.trained, count.largest_layer, **per_node, cpu_offload=offloads, cpu_offload_params=offloads
            )
            return int(gpu) + (0 if offloads else 2 * count.frozen // num_gpus)
    raise ValueError(strategy)


def cpu_bytes(strategy: str, count: Count, num_gpus: int) -> int:
    """Bytes that offloading takes of the memory of each machine."""
    nodes = max(1, num_gpus // GPUS_PER_NODE)
    per_node = {"num_gpus_per_node": num_gpus // nodes, "num_nodes": nodes}
    if strategy == "zero2_offload":
        return int(estimate_zero2_model_states_mem_needs(count.trained, **per_node, cpu_offload=True)[0])
    cpu, _, _ = estimate_zero3_model_states_mem_needs(
        count.trained, count.largest_layer, **per_node, cpu_offload=True, cpu_offload_params=True
    )
    return int(cpu) + 2 * count.frozen // nodes


def loading_bytes(count: Count, num_gpus: int) -> int:
    """Bytes of each machine's memory while its ranks load, but for ZeRO 3: a whole model in float32 each, without adapters."""
    return 4 * (count.frozen or count.all) * min(num_gpus, GPUS_PER_NODE)


def tables() -> Iterator[str]:
    """Markdown, line by line: a table per model."""
    for name, sizes in MODELS.items():
        counts = {"full": count_weights(sizes, None), f"LoRA rank {RANK}": count_weights(sizes, RANK)}
        billions = counts["full"].all / 1e9
        millions = counts[f"LoRA rank {RANK}"].trained / 1e6
        yield f"\n**{name}**: {billions:.2f} billion weights, adapters of rank {RANK} have {millions:.1f} million. GiB per GPU:\n"
        yield "| strategy | " + " | ".join(f"{training}, {n}" for training in counts for n in GPUS) + " |"
        yield "|---" * (1 + len(counts) * len(GPUS)) + "|"
        for strategy in STRATEGIES:
            cells = [_gib(gpu_bytes(strategy, count, n)) for count in counts.values() for n in GPUS]
            yield f"| `{strategy}` | " + " | ".join(cells) + " |"
        for strategy in ("zero2_offload", "zero3_offload"):
            cells = [_gib(cpu_bytes(strategy, count, n)) for count in counts.values() for n in GPUS]
            yield f"| memory of each machine, `{strategy}` | " + " | ".join(cells) + " |"
        cells = [_gib(loading_bytes(count, n)) for count in counts.values() for n in GPUS]
        yield "| memory of each machine at loading, all but ZeRO 3 | " + " | ".join(cells) + " |"


def _gib(number: int) -> str:
    return f"{number / GIB:,.1f}"


if __name__ == "__main__":
    print("\n".join(tables()))
