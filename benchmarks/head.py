"""Memory of the language-model head with a vocabulary of 152 thousand: ours against logits of all positions in float32.

python benchmarks/head.py [--turns N]

The peer is what LLaMA-Factory and the reference implementation of DPO do: logits at every position, copied to float32,
log_softmax over them, then the labels picked.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from command import run_contests
from measure import Contest, Target, Work
from medcritical.batching import Example
from medcritical.modeling.lora import add_lora
from sides import SEED, Recipe, our_sft
from workload import smollm2_config

ROWS, PROMPT, RESPONSE = 4, 150, 250


def main() -> None:
    """Measure the one case."""
    run_contests(__file__, __doc__ or "", {"head": _contest})


def _contest() -> Contest:
    config = smollm2_config()
    lora = config.student.lora
    assert lora is not None
    recipe = Recipe(lora=lora, batch_size=ROWS, steps=1, micro=ROWS)
    ids_BT = torch.randint(1, 1000, (ROWS, PROMPT + RESPONSE), generator=torch.Generator().manual_seed(SEED))

    def ours() -> Work:
        model = add_lora(random_qwen2(), lora, SEED)
        examples = [Example(row[:PROMPT], row[PROMPT:]) for row in ids_BT.tolist()]

        def work() -> int:
            with tempfile.TemporaryDirectory() as folder:
                our_sft(config, model, 0, examples, recipe, Path(folder) / "metrics.jsonl")
            return ids_BT.numel()

        return work

    def theirs() -> Work:
        model = add_lora(random_qwen2(), lora, SEED).train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)

        def work() -> int:
            all_positions_loss(model, ids_BT).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            return ids_BT.numel()

        return work

    return Contest(
        name="vocabulary of 151,936, 6 layers of Qwen2.5-0.5B's shape, SFT LoRA",
        peer="float32 logits of all positions",
        ours=ours,
        theirs=theirs,
        target=Target(memory_ratio=0.45),
        note=lambda: f"{ROWS} examples of {PROMPT} prompt and {RESPONSE} response tokens, random weights",
        measures_memory=True,
    )


def all_positions_loss(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """Mean cross entropy of the responses, nats per token, from the log-probabilities of every position and token."""
    logps_BTV = F.log_softmax(model(input_ids=ids_BT, use_cache=False).logits[:, :-1].float(), dim=-1)
    logps_BT = logps_BTV.gather(2, ids_BT[:, 1:, None])[:, :, 0]
    return -logps_BT[:, PROMPT - 1 :].mean()


def random_qwen2() -> Qwen2ForCausalLM:
    """Six layers of Qwen2.5-0.5B with random weights and tied embeddings."""
    torch.manual_seed(SEED)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=151_936,
            hidden_size=896,
            intermediate_size=4864,
            num_hidden_layers=6,
            num_attention_heads=14,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            attn_implementation="sdpa",
        )
    )


if __name__ == "__main__":
    main()
