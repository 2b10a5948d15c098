"""Where a model lives and in which numbers its weights are kept."""

from __future__ import annotations

import torch

from medcritical.config.schema import Precision
from medcritical.errors import ModelError


def resolve_device(accelerator: str) -> torch.device:
    """Return the device that `trainer.accelerator` names; auto takes a GPU where there is one.

    Raises:
        ModelError: `accelerator` is none of auto, cpu and gpu, or it is gpu and torch sees none.
    """
    if accelerator not in ("auto", "cpu", "gpu"):
        raise ModelError(f"trainer.accelerator is {accelerator!r}; it must be auto, cpu or gpu")
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ModelError("trainer.accelerator is gpu but torch sees no GPU; use trainer.accelerator=cpu")
    return torch.device("cuda")


def resolve_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype of weights that are only read, for generation and scoring: always float32 on CPU.

    A CPU without bfloat16 instructions is 7 to 9 times slower in bfloat16 than in float32. Trained weights are
    float32 on every device, and `precision` is then the trainer's autocast.
    """
    if device.type == "cpu" or precision is Precision.float32:
        return torch.float32
    if precision is Precision.bfloat16 or torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32
