"""Which device trains, and in which numbers."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from medcritical.config.schema import Precision
from medcritical.errors import ConfigError

logger = logging.getLogger(__name__)

Accelerator = Literal["cpu", "gpu"]
LightningPrecision = Literal["32-true", "bf16-mixed"]

CPU_BFLOAT16_PARAMETERS = 10_000_000
"""Parameters from which `auto` takes bfloat16 on a CPU. Measured on an AVX512_BF16 core: a training step of a model of
14 million takes half the time of float32, one of 0.3 million a fifth more."""


def choose_accelerator(name: str) -> Accelerator:
    """cpu or gpu for `trainer.accelerator`; auto takes a CUDA GPU where there is one.

    Raises:
        ConfigError: an unknown name, or gpu without a CUDA GPU.
    """
    if name not in ("auto", "cpu", "gpu"):
        raise ConfigError(f"trainer.accelerator={name} is unknown; use auto, cpu or gpu.")
    has_gpu = torch.cuda.is_available()
    if name == "gpu" and not has_gpu:
        raise ConfigError(
            "trainer.accelerator=gpu, but torch sees no CUDA GPU; use auto or cpu, or a CUDA build of torch."
        )
    return "cpu" if name == "cpu" or not has_gpu else "gpu"


def choose_precision(precision: Precision, accelerator: Accelerator, num_parameters: int) -> LightningPrecision:
    """Lightning's name of the precision: weights stay float32, `bf16-mixed` autocasts the forward pass."""
    chosen: LightningPrecision = "32-true"
    if precision == Precision.bfloat16 or (precision == Precision.auto and bfloat16_pays(accelerator, num_parameters)):
        chosen = "bf16-mixed"
    logger.info("precision %s on %s (trainer.precision=%s)", chosen, accelerator, precision.value)
    return chosen


def bfloat16_pays(accelerator: Accelerator, num_parameters: int) -> bool:
    """True where bfloat16 has instructions of its own; emulated on a CPU it is many times slower than float32.

    A small model on a CPU keeps float32 even so: the casts cost more than they save, and its results then do not
    depend on the kind of CPU.
    """
    if accelerator == "gpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return has_instructions and num_parameters >= CPU_BFLOAT16_PARAMETERS
