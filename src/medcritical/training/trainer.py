"""Lightning's Trainer as this program uses it: one device per rank, nothing on the terminal, our own checkpoints."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.utilities.seed import isolate_rng

from medcritical.config.choices import StrategyKind
from medcritical.config.cluster import zero_stage
from medcritical.config.schema import TrainerConfig
from medcritical.modeling.device import resolve_device
from medcritical.training.data import MicroBatchData
from medcritical.training.device import LightningPrecision, choose_precision
from medcritical.training.modules import TrainingModule
from medcritical.training.ranks import ALONE, Ranks
from medcritical.training.resume import Recovery, Resumption
from medcritical.training.strategies import Bfloat16Scoring, build_strategy


@dataclass(frozen=True)
class Launch:
    """How this process takes part in a training: alone or as a rank, and where its state is kept, if it is."""

    strategy: StrategyKind = StrategyKind.auto
    ranks: Ranks = ALONE
    recovery: Recovery | None = None


SINGLE = Launch()
"""A process by itself that keeps no state."""


def precision_of(config: TrainerConfig, strategy: StrategyKind, num_parameters: int) -> LightningPrecision:
    """Lightning's name of the precision. Under ZeRO it is that of the weights, and known before the model: size is no matter."""
    size = 0 if zero_stage(strategy) else num_parameters
    return choose_precision(config.precision, resolve_device(config.accelerator), size)


def strategy_of(launch: Launch, *, scoring: bool = False) -> StrategyKind:
    """What the strategy comes to; `auto` for a process alone. ZeRO 1 and 2 divide what scoring does not need: DDP does that."""
    kind, stage = launch.strategy, zero_stage(launch.strategy)
    is_alone = kind is StrategyKind.auto and launch.ranks.size == 1
    return kind if is_alone or stage == 3 or (stage and not scoring) else StrategyKind.ddp


def build_trainer(
    config: TrainerConfig,
    num_parameters: int,
    launch: Launch,
    callbacks: Sequence[Callback],
    *,
    scoring: bool = False,
    **arguments: int | float,
) -> Trainer:
    """A Trainer on this rank's device that makes a single pass over the micro-batches it is given.

    Args:
        num_parameters: size of the model, which `precision: auto` depends on.
        scoring: only forward passes are made.
        arguments: passed on to Lightning, e.g. max_steps.

    Raises:
        ConfigError: the device is not there, or a strategy's programs are not.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = resolve_device(config.accelerator)
    precision = precision_of(config, launch.strategy, num_parameters)
    ranks, kind = launch.ranks, strategy_of(launch, scoring=scoring)
    plugins: list[Any] = [_environment()]
    more: dict[str, Any] = {"precision": precision, **arguments}
    if zero_stage(launch.strategy) and kind is StrategyKind.ddp and precision == "bf16-mixed":
        del more["precision"]  # DeepSpeed's weights are bfloat16 too
        plugins.append(Bfloat16Scoring())
    elif zero_stage(kind):
        del more["precision"]  # it comes with the strategy
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=ranks.local_size,
        num_nodes=ranks.num_nodes,
        strategy=build_strategy(kind, ranks, device, precision),
        plugins=plugins,
        callbacks=list(callbacks),
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        # Lightning's own would shuffle, silently, even a sequential loader.
        use_distributed_sampler=False,
        **more,
    )


def _environment() -> ClusterEnvironment:
    """Who this process is. Lightning's own guess would take any process of a SLURM job for one of its tasks."""
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def fit(trainer: Trainer, module: TrainingModule, data: MicroBatchData) -> None:
    """Train, from the newest sound checkpoint if the trainer's callbacks find one.

    Raises:
        TrainingStopped: it was told to stop, and has saved its state.
        ConfigError: its checkpoint was made with another layout.
    """
    resumption = next((found for found in trainer.callbacks if isinstance(found, Resumption)), None)
    if resumption is None:
        trainer.fit(module, datamodule=data)
        return
    if (found := resumption.find()) is not None:
        data.num_done = found.step * trainer.accumulate_grad_batches
    # DeepSpeed's own files are pickles; their hashes have just been checked.
    is_pickled = isinstance(trainer.strategy, DeepSpeedStrategy)
    with resumption.signals_kept():
        trainer.fit(module, datamodule=data, ckpt_path=resumption.state_path, weights_only=not is_pickled)


@contextmanager
def contained(seed: int) -> Iterator[None]:
    """Keeps what Lightning does to the process inside the block.

    Torch is seeded for the block alone. Lightning's advice is muted (devices found, tips, workers for loaders);
    warnings about what is computed pass. Ctrl-C stays a KeyboardInterrupt: Lightning would exit with code 1 and leave
    the next one ignored.
    """
    on_interrupt = signal.getsignal(signal.SIGINT)
    chatty = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in chatty]
    with isolate_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        # Advice where SLURM is installed, to a process that is none of its tasks, or one that it would not know (torchrun's).
        warnings.filterwarnings("ignore", message=".*`srun` command is available on your system but is not used.*")
        # Said of any loader that Lightning cannot rewind; ours begins where the checkpoint ends.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        warnings.filterwarnings("ignore", message=".*DeepSpeed handles gradient clipping internally.*")
        warnings.filterwarnings("ignore", message=".*saving the DeepSpeed Stage 3 checkpoint.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        for log in chatty:
            log.setLevel(logging.WARNING)
        torch.manual_seed(seed)
        try:
            yield
        except SystemExit as stop:
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from stop
        finally:
            for log, level in zip(chatty, levels, strict=True):
                log.setLevel(level)
