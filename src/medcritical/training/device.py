"""In which numbers a device trains, and what that is called in manifests: the arithmetic (docs/configuration.md)."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from medcritical.config.choices import Arithmetic, Precision, StrategyKind
from medcritical.config.cluster import zero_stage

logger = logging.getLogger(__name__)

LightningPrecision = Literal["32-true", "bf16-mixed"]

CPU_BFLOAT16_PARAMETERS = 10_000_000
"""Parameters from which `auto` takes bfloat16 on a CPU. Measured on an AVX512_BF16 core: a training step of a model of
14 million takes half the time of float32, one of 0.3 million a fifth more."""


def choose_precision(precision: Precision, device: torch.device, num_parameters: int) -> LightningPrecision:
    """Lightning's name of the precision: weights stay float32, `bf16-mixed` autocasts the forward pass."""
    chosen: LightningPrecision = "32-true"
    if precision == Precision.bfloat16 or (precision == Precision.auto and bfloat16_pays(device, num_parameters)):
        chosen = "bf16-mixed"
    logger.info("precision %s on %s (trainer.precision=%s)", chosen, device.type, precision.value)
    return chosen


def arithmetic_of(precision: LightningPrecision, strategy: StrategyKind, *, scoring: bool = False) -> Arithmetic:
    """How a training, or the scoring for it, computes. Scoring steps nothing: under ZeRO its bfloat16 weights have no master."""
    if precision == "32-true":
        return Arithmetic.float32
    if not zero_stage(strategy):
        return Arithmetic.bfloat16_autocast
    return Arithmetic.bfloat16_read_only if scoring else Arithmetic.bfloat16_weights


def forward_of(arithmetic: Arithmetic) -> Arithmetic:
    """The part of an arithmetic that a forward pass sees. Where it is equal, so are log-probabilities, up to row order."""
    return Arithmetic.bfloat16_read_only if arithmetic is Arithmetic.bfloat16_weights else arithmetic


def bfloat16_pays(device: torch.device, num_parameters: int) -> bool:
    """True where bfloat16 has instructions of its own; emulated on a CPU it is many times slower than float32.

    A small model on a CPU keeps float32 even so: the casts cost more than they save, and its results then do not
    depend on the kind of CPU.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return has_instructions and num_parameters >= CPU_BFLOAT16_PARAMETERS
