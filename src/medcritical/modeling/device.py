"""Where a model lives, what that device is, and in which numbers its weights are kept."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from torch import nn

from medcritical.config.choices import Accelerator, Arithmetic, Precision
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


def device_name(device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model of a GPU as CUDA names it, of a CPU as Linux does; without such a name the CPU's architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


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


def arithmetic_of_reading(dtype: torch.dtype) -> Arithmetic:
    """What an engine with read-only weights of this dtype computes in."""
    return Arithmetic.float32 if dtype == torch.float32 else Arithmetic.bfloat16_read_only


def narrow_frozen(model: nn.Module) -> int:
    """Makes frozen weights of linear layers bfloat16 for good, as autocast does for each use; returns how many numbers.

    What is computed under autocast stays the same bit for bit. Autocast remembers the casts of trained weights alone: a
    frozen one would be held as float32, cast for every micro-batch, and that kept for its backward pass. A weight that an
    embedding reads, too, stays: it is not cast there.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    others = [module for module in model.modules() if not isinstance(module, nn.Linear)]
    read_elsewhere = {weight for module in others for weight in module.parameters(recurse=False)}
    frozen = {w for module in linear for w in module.parameters(recurse=False) if not w.requires_grad}
    for weight in frozen - read_elsewhere:
        weight.data = weight.data.to(torch.bfloat16)
    return sum(weight.numel() for weight in frozen - read_elsewhere)
