"""Trains and scores: from examples to a changed model and a result. The model is changed in place."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from medcritical.batching import Example, PairExample, collate_examples, collate_pairs, step_batches
from medcritical.batching.examples import AnyExample, prompt_key
from medcritical.batching.micro import MicroBatches
from medcritical.config.choices import Batching
from medcritical.config.cluster import zero_stage
from medcritical.config.schema import LossConfig, OptimConfig, TrainerConfig
from medcritical.modeling.device import narrow_frozen
from medcritical.training.callbacks import FinalWeights, MetricRows, Progress, ScoringProgress
from medcritical.training.data import MicroBatch, MicroBatchData, micro_batches
from medcritical.training.health import find_alarms
from medcritical.training.layout import choose_layout, cut_scoring, cut_steps, prepared
from medcritical.training.modules import DpoModule, ScoringModule, SftModule, TrainingModule, disable_dropout
from medcritical.training.ranks import gather_over_ranks, seed_of_rank
from medcritical.training.resume import Resumption
from medcritical.training.strategies import count_parameters
from medcritical.training.trainer import SINGLE, Launch, build_trainer, contained, fit, precision_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a training did.

    Attributes:
        steps: optimizer steps.
        trained_tokens: tokens of the sequences trained on, each with its prompt, rejected ones included: the same for
            every layout, though a packed row computes a shared prompt once.
        seconds: wall-clock time of the steps, without set-up.
        metrics: the last metric row.
        alarms: a sentence per finding; empty for a sound training.
        weights: the trained weights by name, whole, on rank 0; empty on other ranks.
    """

    steps: int
    trained_tokens: int
    seconds: float
    metrics: dict[str, float]
    alarms: tuple[str, ...]
    weights: dict[str, Tensor] = field(repr=False, compare=False)


def train_sft(
    model: nn.Module,
    pad_id: int,
    examples: Sequence[Example],
    optim: OptimConfig,
    trainer: TrainerConfig,
    *,
    steps: int,
    seed: int,
    metrics_path: Path,
    on_progress: Progress,
    launch: Launch = SINGLE,
) -> TrainingResult:
    """Fine-tunes the trainable parameters of a causal language model on responses.

    Args:
        model: a Hugging Face causal language model, with or without adapters.
        steps: optimizer steps; `optim.epochs` and `optim.steps` are not read here.
        metrics_path: JSONL file that is written as the training goes.
        launch: how this process takes part; every rank must make the same call.

    Raises:
        TrainingError: no examples, nothing trainable, or a loss that is not finite.
        ConfigError: the device is not there.
    """
    order = _order(examples, optim, trainer, steps, seed, launch.ranks.size)
    micros = micro_batches(
        examples, order, lambda step: sum(len(example.response_ids) for example in step), launch.ranks
    )
    data = MicroBatchData(micros, collate_examples, choose_layout(trainer, pad_id))
    rows = MetricRows(metrics_path, trainer.log_every_n_steps, on_progress, launch.ranks)
    return _fit(SftModule(model, optim, steps), data, rows, trainer, seed, launch)


def train_dpo(
    model: nn.Module,
    pad_id: int,
    pairs: Sequence[PairExample],
    optim: OptimConfig,
    trainer: TrainerConfig,
    *,
    beta: float,
    nll_weight: float,
    loss: LossConfig,
    contrast: bool,
    starts_at_reference: bool,
    steps: int,
    seed: int,
    metrics_path: Path,
    on_progress: Progress,
    launch: Launch = SINGLE,
) -> TrainingResult:
    """Trains on preference pairs: the DPO loss of pairs with a rejected response, plus weighted NLL of all chosen.

    The loss of an optimizer step is (sum of preference losses + nll_weight * sum of per-token NLL) / examples, each example
    counted by its weight above and below the line, whatever the size of a micro-batch. Dropout is switched off in `model`,
    for good.

    Args:
        beta: DPO inverse temperature, 1 / nats.
        loss: member of the family of preference losses (objectives/dpo.py).
        contrast: False leaves rejected responses out: the NLL term alone, with the same weight.
        starts_at_reference: `model` is the checkpoint that the reference log-probabilities come from. The first
            margin is then held against 0.

    Raises:
        TrainingError: no pairs, nothing trainable, a first margin that is not 0, or a loss that is not finite.
        ConfigError: the device is not there.
    """
    if not contrast:
        nothing: dict[str, Any] = dict.fromkeys(("rejected_ids", "reference_chosen_logp", "reference_rejected_logp"))
        pairs = [replace(pair, **nothing) for pair in pairs]
    logger.info("dropout is off in preference training (%d layers had some)", disable_dropout(model))
    module = DpoModule(
        model,
        optim,
        steps,
        beta=beta,
        nll_weight=nll_weight,
        loss=loss,
        starts_at_reference=starts_at_reference,
    )
    order = _order(pairs, optim, trainer, steps, seed, launch.ranks.size)
    # Exact, so that no order of the examples changes it.
    micros = micro_batches(pairs, order, lambda step: math.fsum(pair.weight for pair in step), launch.ranks)
    data = MicroBatchData(micros, collate_pairs, choose_layout(trainer, pad_id))
    rows = MetricRows(metrics_path, trainer.log_every_n_steps, on_progress, launch.ranks)
    return _fit(module, data, rows, trainer, seed, launch)


def score_responses(
    model: nn.Module,
    pad_id: int,
    examples: Sequence[Example],
    trainer: TrainerConfig,
    on_progress: Progress,
    launch: Launch = SINGLE,
) -> list[float]:
    """Log-probability of each response, in the order given: nats, summed over its tokens, without dropout.

    The numbers are those that training computes, in the same precision and by the same code, so that a policy that
    starts at its reference finds log-ratios of zero. Ranks share the responses; each of them has all scores. Weights
    that need no gradient become bfloat16, for good, where the trainer computes in it.
    """
    if not examples:
        return []
    chunks, ranks = cut_scoring(examples, trainer), launch.ranks
    # Under ZeRO 3 all ranks run every forward pass together: those at the end of their share score a chunk again.
    mine = [chunks[min(start + ranks.rank, len(chunks) - 1)] for start in range(0, len(chunks), ranks.size)]
    micros = [MicroBatch(tuple(examples[index] for index in chunk), normaliser=1) for chunk in mine]
    data = MicroBatchData(micros, collate_examples, choose_layout(trainer, pad_id))
    with contained(seed=0), prepared(model, trainer, is_trained=False):
        lightning = build_trainer(
            trainer,
            count_parameters(model),
            launch,
            [ScoringProgress(len(micros), on_progress)],
            scoring=True,
        )
        _narrow(model, trainer, launch, lightning.precision)
        scores = lightning.predict(ScoringModule(model), datamodule=data)
    logps = dict(zip((index for chunk in mine for index in chunk), torch.cat(scores).tolist(), strict=True))
    logps = {index: logp for part in gather_over_ranks(logps) for index, logp in part.items()}
    return [logps[index] for index in range(len(examples))]


def _order(
    examples: Sequence[AnyExample], optim: OptimConfig, trainer: TrainerConfig, steps: int, seed: int, num_ranks: int
) -> MicroBatches:
    prompts = [prompt_key(example) for example in examples]
    order = step_batches(prompts, batch_size=optim.batch_size, steps=steps, seed=seed)
    return cut_steps(order, examples, trainer, num_ranks)


def _fit(
    module: TrainingModule, data: MicroBatchData, rows: MetricRows, trainer: TrainerConfig, seed: int, launch: Launch
) -> TrainingResult:
    module.model.train()
    num_micro_batches, final = len(data.dataset) // module.num_steps, FinalWeights(launch.ranks)
    callbacks: list[Callback] = [rows, final]
    if launch.recovery is not None:
        spread = {
            "strategy": launch.strategy.value,
            "ranks": launch.ranks.size,
            "precision": precision_of(trainer, launch.strategy, count_parameters(module)),
            "batching": trainer.batching.value,
            "steps": module.num_steps,
            "micro-batches": num_micro_batches,
        }
        callbacks.append(Resumption(launch.recovery, launch.ranks, spread))
    with contained(seed_of_rank(seed, launch.ranks)), prepared(module.model, trainer, is_trained=True):
        lightning = build_trainer(
            trainer,
            count_parameters(module),
            launch,
            callbacks,
            max_steps=module.num_steps,
            accumulate_grad_batches=num_micro_batches,
            gradient_clip_val=module.optim.max_grad_norm,
        )
        _narrow(module.model, trainer, launch, lightning.precision)
        fit(lightning, module, data)
    alarms = find_alarms(rows.rows, module.num_steps)
    for alarm in alarms:
        logger.warning(alarm)
    return TrainingResult(
        steps=lightning.global_step,
        trained_tokens=int(rows.rows[-1]["tokens"]),
        seconds=rows.seconds,
        metrics=rows.rows[-1],
        alarms=alarms,
        weights=final.weights,
    )


def _narrow(model: nn.Module, trainer: TrainerConfig, launch: Launch, precision: str) -> None:
    """Of models known to use their linear layers as such: those that can be packed. ZeRO has numbers of its own."""
    if precision == "bf16-mixed" and trainer.batching is Batching.packed and not zero_stage(launch.strategy):
        logger.info("%d frozen weights are bfloat16", narrow_frozen(model))
