"""The optimizer and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from medcritical.config.choices import Schedule
from medcritical.config.schema import OptimConfig
from medcritical.training.strategies import build_offloaded_adam

FUSED_DEVICES = {"cpu", "cuda"}


def build_adamw(parameters: Sequence[Parameter], optim: OptimConfig, *, offloaded: bool = False) -> Optimizer:
    """AdamW over `parameters` at the peak rate; weight decay on all of them, as in the measured recipe.

    Args:
        offloaded: take DeepSpeed's, which works in the CPU's memory on weights of a GPU.
    """
    settings: dict[str, Any] = {
        "lr": optim.learning_rate,
        "betas": (optim.adam_beta1, optim.adam_beta2),
        "eps": optim.adam_epsilon,
        "weight_decay": optim.weight_decay,
    }
    if offloaded:
        return build_offloaded_adam(parameters, **settings)
    fused = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters)
    return AdamW(parameters, fused=fused, **settings)


def rate_at(step: int, total: int, warmup: int, final: float, schedule: Schedule) -> float:
    """Learning rate of optimizer step `step` (0-based) as a share of the peak.

    Warm-up rises linearly to the peak at step `warmup - 1`; the decay starts there at 1 and the last step, `total - 1`,
    has exactly `final`. A warm-up as long as the training leaves no decay.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == Schedule.constant:
        return 1.0
    progress = min(1.0, (step + 1 - warmup) / max(1, total - warmup))
    remaining = 1 - progress if schedule == Schedule.linear else (1 + math.cos(math.pi * progress)) / 2
    return final + (1 - final) * remaining
