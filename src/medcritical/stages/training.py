"""What the stages share whose work is done by all ranks: meeting, loading, saving, and what goes into the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from medcritical.config.choices import Arithmetic, StrategyKind
from medcritical.config.cluster import zero_stage
from medcritical.config.schema import LoraConfig
from medcritical.modeling.checkpoint import Student, load_checkpoint, save_trained
from medcritical.modeling.device import device_name, resolve_device
from medcritical.modeling.lora import add_lora
from medcritical.stages.context import Computation, Inputs, Output
from medcritical.stages.engines import prepare_process
from medcritical.stages.environment import MODELS, TRAINING, ZERO
from medcritical.store import Manifest, read_json
from medcritical.store.artefact import MANIFEST
from medcritical.training.device import arithmetic_of
from medcritical.training.ranks import gather_over_ranks, join_ranks, leave_ranks
from medcritical.training.resume import Recovery
from medcritical.training.run import TrainingResult
from medcritical.training.strategies import count_parameters, sharded_loading
from medcritical.training.trainer import Launch, precision_of, strategy_of


@contextmanager
def launched(output: Output) -> Iterator[Launch]:
    """This process among the ranks that run the stage together: they meet here, and part when all have done their work."""
    trainer, recovery = output.trainer, None
    ranks = join_ranks(resolve_device(trainer.accelerator), output.timeout_seconds)
    if output.checkpoints is not None:
        recovery = Recovery(
            output.checkpoints, trainer.checkpoint_every_steps, output.deadline, output.tell, output.keep
        )
    yield Launch(output.strategy, ranks, recovery)
    leave_ranks()


def training_student(checkpoint: Path, output: Output) -> Student:
    """A checkpoint's model with float32 weights, for training and scoring; autocast narrows the arithmetic.

    Under ZeRO 3 every rank loads its part of each weight, and DeepSpeed's precision is that of the weights.
    """
    prepare_process(output.trainer)
    device = resolve_device(output.trainer.accelerator)
    precision = precision_of(output.trainer, output.strategy, num_parameters=0)
    return load_checkpoint(checkpoint, dtype=torch.float32, shards=sharded_loading(output.strategy, device, precision))


def note_computation(output: Output, launch: Launch, model: nn.Module, *, scoring: bool = False) -> Arithmetic:
    """Enter with what the stage trains or scores a model of this size; the arithmetic. All ranks must call it."""
    strategy = strategy_of(launch, scoring=scoring)
    precision = precision_of(output.trainer, launch.strategy, count_parameters(model))
    arithmetic = arithmetic_of(precision, launch.strategy, scoring=scoring)
    output.computed = Computation(
        packages={*MODELS, *TRAINING, *(ZERO if zero_stage(launch.strategy) else ())},
        devices=set(gather_over_ranks(device_name(resolve_device(output.trainer.accelerator)))),
        ranks=launch.ranks.size,
        strategy="alone" if strategy is StrategyKind.auto else strategy.value,
        arithmetic={arithmetic},
    )
    return arithmetic


def _mixed_arithmetic(inputs: Inputs, output: Output) -> list[str]:
    """An alarm where the checkpoint that a training began with was trained in another arithmetic."""
    before = inputs.manifest("checkpoint")
    if through := before.facts.get("let_through"):  # a gate trains nothing
        before = read_json(inputs.store.root / through / MANIFEST, Manifest)
    there = "" if before.environment is None else before.environment.arithmetic
    (here,) = output.computed.arithmetic
    if there in ("", here.value):
        return []
    return [
        f"Mixed arithmetic: trained in {here.value}, from a checkpoint that was trained in {there}: set trainer.precision and "
        "strategy alike on all machines that share the store."
    ]


def with_adapters(model: PreTrainedModel, lora: LoraConfig | None, seed: int) -> PreTrainedModel | PeftModel:
    """The model with fresh adapters, if there shall be some."""
    return model if lora is None else add_lora(model, lora, seed)


def save_result(
    output: Output, source: Path, student: Student, model: PreTrainedModel | PeftModel, result: TrainingResult
) -> None:
    """Write the trained model, on the rank that has its weights."""
    if result.weights:
        save_trained(output.folder, source, model, student.tokenizer, result.weights)


def record_training(inputs: Inputs, output: Output, result: TrainingResult, **facts: Any) -> None:
    """Steps, tokens, seconds, last metrics and alarms as facts."""
    output.facts.update(facts)
    output.facts["steps"] = result.steps
    output.facts["trained_tokens"] = result.trained_tokens
    output.facts["train_seconds"] = round(result.seconds, 3)
    output.facts["metrics"] = result.metrics
    output.facts["alarms"] = [*result.alarms, *_mixed_arithmetic(inputs, output)]
    rate = result.trained_tokens / max(result.seconds, 1e-9)
    output.facts["shown"] = [
        f"{result.steps} steps",
        f"loss {result.metrics['train/loss']:.4f}",
        f"{rate:,.0f} tokens/s",
    ]
