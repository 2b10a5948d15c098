"""Where a model lives and in which numbers its weights are kept."""

from __future__ import annotations

import torch

from medcritical.config.choices import Accelerator, Precision
from medcritical.errors import ConfigError


def resolve_device(accelerator: Accelerator) -> torch.device:
    """Return the device that `trainer.accelerator` names; auto takes a CUDA GPU where there is one.

    Raises:
        ConfigError: it is gpu and torch sees none.
    """
    has_gpu = torch.cuda.is_available()
    if accelerator is Accelerator.gpu and not has_gpu:
        raise ConfigError(
            "trainer.accelerator=gpu, but torch sees no CUDA GPU: use auto or cpu, or install a CUDA build of torch."
        )
    return torch.device("cuda" if has_gpu and accelerator is not Accelerator.cpu else "cpu")


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
