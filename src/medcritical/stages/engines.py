"""Engines and models as stages need them: over the stage's own checkpoints, or over a named model that is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers.utils.logging import disable_progress_bar

from medcritical.config.choices import EngineKind, Precision, StudentKind
from medcritical.config.load import to_identity
from medcritical.config.schema import EngineConfig, StudentConfig, TrainerConfig
from medcritical.generation.embedded import TransformersEngine
from medcritical.generation.engine import Engine
from medcritical.generation.journal import open_journal
from medcritical.generation.managed import managed_server
from medcritical.generation.server import ServerEngine
from medcritical.modeling.checkpoint import Student, load_checkpoint
from medcritical.modeling.device import resolve_device, resolve_dtype
from medcritical.modeling.record import find_model
from medcritical.modeling.student import create_student
from medcritical.stages.context import Inputs, Output
from medcritical.store.hashing import hash_json

ENGINES = "engines"  # the store's folder of journals and server logs


@contextmanager
def student_engine(
    config: EngineConfig, inputs: Inputs, role: str, output: Output, precision: Precision
) -> Iterator[Engine]:
    """An engine over the checkpoint that the stage has under `role`. A server is asked for it by the model's folder."""
    if config.kind is EngineKind.embedded:
        yield embedded_engine(inputs[role], output.trainer, precision)
        return
    with _server(config, find_model(inputs[role]), inputs, identity=inputs.refs[role].key) as engine:
        yield engine


@contextmanager
def asked_engine(config: EngineConfig, inputs: Inputs, output: Output) -> Iterator[Engine]:
    """An engine over the model that the configuration names: one that is asked and never trained."""
    if config.kind is EngineKind.embedded:
        with TemporaryDirectory() as folder:
            model = StudentConfig(config.model, StudentKind.pretrained, config.model, "", False, None, None)
            create_student(model, None, Path(folder), seed=0)
            yield embedded_engine(Path(folder), output.trainer, Precision.auto)
        return
    with _server(config, config.model, inputs, identity="") as engine:
        yield engine


@contextmanager
def _server(config: EngineConfig, model: str, inputs: Inputs, *, identity: str) -> Iterator[ServerEngine]:
    """An engine over a server, started for it if it is a managed one.

    The journal belongs to the model and not to the stage: whoever asks the same again, with other bounds or in another
    run that shares the store, has the answers already.
    """
    name = re.sub(r"[^\w.-]+", "-", model)[-40:].strip("-")
    place = inputs.store.root / ENGINES / f"{name}-{hash_json([to_identity(config), model, identity])[:8]}"
    with open_journal(place.with_name(f"{place.name}.jsonl")) as journal:
        if config.kind is EngineKind.server:
            yield ServerEngine(config.url, model, config, journal)
            return
        log = place.with_name(f"{place.name}.log")
        with managed_server(
            config.command, model=model, health=config.health, start_timeout=config.start_timeout, log=log
        ) as root:
            yield ServerEngine(f"{root}/v1", model, config, journal)


def embedded_engine(checkpoint: Path, trainer: TrainerConfig, precision: Precision) -> TransformersEngine:
    """An engine over a checkpoint in this process, on the device that the trainer names."""
    prepare_process(trainer)
    device = resolve_device(trainer.accelerator)
    student = load_checkpoint(checkpoint, dtype=resolve_dtype(precision, device))
    return TransformersEngine(Student(student.model.to(device), student.tokenizer))


def prepare_process(trainer: TrainerConfig) -> None:
    """Use as many CPU threads as the configuration says, if it does; keep the library's own bars out of the log."""
    disable_progress_bar()
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
