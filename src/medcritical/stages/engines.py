"""Engines and models over checkpoints, as stages need them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from medcritical.config.choices import Precision
from medcritical.config.schema import TrainerConfig
from medcritical.generation.embedded import TransformersEngine
from medcritical.modeling.checkpoint import Student, load_checkpoint
from medcritical.modeling.device import resolve_device, resolve_dtype


def embedded_engine(checkpoint: Path, trainer: TrainerConfig, precision: Precision) -> TransformersEngine:
    """An engine over a checkpoint, on the device that the trainer names."""
    prepare_process(trainer)
    device = resolve_device(trainer.accelerator)
    student = load_checkpoint(checkpoint, dtype=resolve_dtype(precision, device))
    return TransformersEngine(Student(student.model.to(device), student.tokenizer))


def training_student(checkpoint: Path, trainer: TrainerConfig) -> Student:
    """A checkpoint's model with float32 weights, for training and scoring; autocast narrows the arithmetic."""
    prepare_process(trainer)
    return load_checkpoint(checkpoint, dtype=torch.float32)


def prepare_process(trainer: TrainerConfig) -> None:
    """Use as many CPU threads as the configuration says, if it does; keep the library's own bars out of the log."""
    disable_progress_bar()
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
