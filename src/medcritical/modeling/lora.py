"""Low-rank adapters (Hu et al., arXiv:2106.09685) through peft."""

from __future__ import annotations

import peft
import torch
from transformers import PreTrainedModel

from medcritical.config.schema import LoraConfig
from medcritical.errors import ModelError
from medcritical.modeling.adapters import refuse_shared


def add_lora(model: PreTrainedModel, lora: LoraConfig, seed: int) -> peft.PeftModel:
    """Return `model` with fresh adapters W + (alpha / rank) B A: A random from `seed`, B zero, base weights frozen.

    B is zero, so the model still computes what it did: the first DPO loss against itself is ln 2. Dropout is 0, as
    stored reference log-probabilities and shared prompts need a forward pass that repeats itself.

    Raises:
        ModelError: `lora.targets` names no module of the model or one with shared weights, or the adapters do not begin at zero.
    """
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=lora.targets,
        lora_dropout=0.0,
        bias="none",
        task_type=peft.TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            adapted = peft.get_peft_model(model, config)
        except ValueError as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(f"student.lora.targets {lora.targets!r} does not fit this model: {reason}") from error
    refuse_shared(adapted)
    _check_fresh(adapted)
    return adapted


def _check_fresh(adapted: peft.PeftModel) -> None:
    """Raise ModelError unless every adapter adds nothing yet."""
    weights_B = [weight for name, weight in adapted.named_parameters() if "lora_B" in name]
    if not weights_B or any(weight.any() for weight in weights_B):
        raise ModelError(
            f"peft {peft.__version__} does not begin adapters at zero, so that the policy would differ from its reference: "
            "install the version in constraints.txt."
        )
