"""Lightning's Trainer as this program uses it: one device, no files of its own, nothing on the terminal."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from medcritical.config.schema import TrainerConfig
from medcritical.modeling.device import resolve_device
from medcritical.training.device import choose_precision


def build_trainer(config: TrainerConfig, num_parameters: int, callback: Callback, **arguments: int | float) -> Trainer:
    """A Trainer on one device that makes a single pass over the micro-batches it is given.

    Args:
        num_parameters: size of the model, which `precision: auto` depends on.
        arguments: passed on to Lightning, e.g. max_steps.

    Raises:
        ConfigError: the device is not there.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = resolve_device(config.accelerator)
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=choose_precision(config.precision, device, num_parameters),
        callbacks=[callback],
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        # Lightning's own would shuffle, silently, even a sequential loader.
        use_distributed_sampler=False,
        **arguments,
    )


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
