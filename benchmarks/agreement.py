"""The losses of both sides, step by step, on the same pairs in the same order from the same adapter."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from medcritical.batching import step_batches
from medcritical.batching.examples import prompt_key
from medcritical.config.schema import Config
from sides import SEED, Recipe, our_dpo, score_groups
from workload import Group, load_smollm2

STEPS = 20
LEARNING_RATE = 1e-4  # ten times the default: in 20 steps the losses must move


def loss_curves(config: Config, groups: Sequence[Group], *, steps: int = STEPS) -> tuple[list[float], list[float]]:
    """DPO losses of SmolLM2-135M with a fresh LoRA adapter, one pair per step: ours, and TRL's.

    `groups` have one rejected response each. References are each side's own, computed before training.
    """
    from trl_peer import trl_dpo

    recipe = Recipe(
        lora=config.student.lora, batch_size=1, steps=steps, micro=1, learning_rate=LEARNING_RATE, is_ordered=True
    )
    student = load_smollm2(config)
    pairs = score_groups(config, student, groups, recipe)
    model = recipe.model(student)
    order = step_batches([prompt_key(pair) for pair in pairs], batch_size=1, steps=steps, seed=SEED)
    in_order = [groups[index] for (index,) in order]
    trainer = trl_dpo(load_smollm2(config), in_order, recipe, initial=model, precompute_ref_log_probs=True)
    trainer.train()
    theirs = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "metrics.jsonl"
        our_dpo(config, model, student.tokenizer.pad_token_id, pairs, recipe, metrics)
        ours = [msgspec.json.decode(line)["train/loss"] for line in metrics.read_bytes().splitlines()]
    return ours, theirs


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of the steps, relative to TRL's loss."""
    return max(abs(mine - other) / abs(other) for mine, other in zip(ours, theirs, strict=True))


def shortest(groups: Sequence[Group]) -> list[Group]:
    """As many questions as there are steps, those of the fewest tokens."""
    return sorted(groups, key=lambda group: group.num_tokens)[:STEPS]
