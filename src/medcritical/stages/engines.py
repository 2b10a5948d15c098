"""Engines and models as stages need them: over the stage's own checkpoints, or over a named model that is asked."""

from __future__ import annotations

import gc
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers.utils.logging import disable_progress_bar

from medcritical.config.choices import EngineKind, Precision, StudentKind
from medcritical.config.load import to_identity
from medcritical.config.packaged import PACKAGE, find_packaged_gguf
from medcritical.config.schema import EngineConfig, StudentConfig, TrainerConfig
from medcritical.config.stages import StageConfig
from medcritical.generation.embedded import TransformersEngine
from medcritical.generation.engine import Engine, ShareEngine
from medcritical.generation.journal import open_journal
from medcritical.generation.managed import managed_server
from medcritical.generation.server import ServerEngine
from medcritical.generation.server_version import server_version
from medcritical.generation.snapshot import local_snapshot
from medcritical.modeling.checkpoint import Student, load_checkpoint, write_merged
from medcritical.modeling.device import arithmetic_of_reading, device_name, resolve_device, resolve_dtype
from medcritical.modeling.record import find_weights
from medcritical.modeling.student import create_student
from medcritical.stages.context import Computation, Inputs, Output
from medcritical.stages.environment import ADAPTERS, GGUF, MODELS
from medcritical.stages.spread import Open, Opening, run_spread, spread_engine
from medcritical.store.environment import UNKNOWN_VERSION
from medcritical.store.hashing import hash_file, hash_json
from medcritical.store.locks import hold
from medcritical.store.shared import ENGINES, MERGED, shared_folder
from medcritical.training.ranks import current_ranks, gather_over_ranks, join_ranks, leave_ranks, take_gpu


@contextmanager
def student_engine(
    config: EngineConfig, inputs: Inputs, role: str, output: Output, precision: Precision
) -> Iterator[Engine]:
    """An engine over the checkpoint that the stage has under `role`. A server is asked for it by the model's folder."""
    opening = Opening(config, inputs[role], inputs.refs[role].key, precision)
    with _engine(opening, inputs, output) as engine:
        yield engine


@contextmanager
def asked_engine(config: EngineConfig, inputs: Inputs, output: Output) -> Iterator[Engine]:
    """An engine over the model that the configuration names: one that is asked and never trained."""
    with ExitStack() as stack:
        checkpoint = None
        if config.kind is EngineKind.embedded and config.model.startswith(PACKAGE):
            checkpoint = converted_gguf(config.model, inputs.store.root / ENGINES)
            output.computed.packages.update(GGUF)
        elif config.kind is EngineKind.embedded:
            if output.checkpoints is not None:  # seen by all ranks
                output.checkpoints.mkdir(parents=True, exist_ok=True)
            checkpoint = Path(stack.enter_context(TemporaryDirectory(dir=output.checkpoints)))
            create_student(_as_student(config.model, config.revision), None, checkpoint, seed=0)
        opening = Opening(config, checkpoint, _state_of(config.model), Precision.auto)
        yield stack.enter_context(_engine(opening, inputs, output))


def _state_of(model: str) -> str:
    """What changes when a model's file, or one in its folder, is replaced; empty for a model that is no path here."""
    path = Path(model).expanduser()
    if not model or not path.exists():
        return ""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return hash_json([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()])


def converted_gguf(name: str, above: Path) -> Path:
    """The checkpoint of a packaged GGUF, below `above` by the hash of its content; converted the first time it is asked for.

    Raises ModelError as `create_student` does.
    """
    key = hash_file(find_packaged_gguf(name))[:16]
    folder, unfinished = above / f"gguf-{key}", above / f".gguf-{key}.unfinished"
    with hold(above / f".gguf-{key}.lock"):
        if not folder.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            unfinished.mkdir()
            create_student(_as_student(name), None, unfinished, seed=0)
            unfinished.rename(folder)
    return folder


def _as_student(name: str, revision: str = "") -> StudentConfig:
    """A named model as `create_student` takes it."""
    return StudentConfig(name, StudentKind.pretrained, name, revision, False, None, None)


def run_ranked(stage: Callable[..., None], config: StageConfig, inputs: Inputs, output: Output) -> None:
    """Run a stage whose engines all ranks hold: rank 0 does what one process does, the others answer for it."""
    ranks = join_ranks(torch.device("cpu"), output.timeout_seconds)  # between GPUs nothing is exchanged
    run_spread(lambda: stage(config, inputs, output), opener(inputs, output), ranks, output.timeout_seconds)
    output.computed = Computation.of_ranks(gather_over_ranks(output.computed))
    leave_ranks()


@contextmanager
def _engine(opening: Opening, inputs: Inputs, output: Output) -> Iterator[Engine]:
    """The engine as one. A running server is asked by one process alone, and a journal keeps what a server answers."""
    open_own, kind = opener(inputs, output), opening.config.kind
    is_alone = current_ranks().size == 1
    if kind is EngineKind.server or (kind is EngineKind.managed and is_alone):
        with open_own(opening) as engine:
            yield engine
    else:
        with spread_engine(opening, open_own, output) as spread:
            yield spread


def opener(inputs: Inputs, output: Output) -> Open:
    """What opens engines in this process."""

    @contextmanager
    def open_own(opening: Opening) -> Iterator[ShareEngine]:
        if opening.config.kind is EngineKind.embedded:
            assert opening.checkpoint is not None
            yield embedded_engine(opening.checkpoint, output.trainer, opening.precision, output.computed)
        else:
            with _server(opening, inputs) as engine:
                if (
                    opening.checkpoint is not None and find_weights(opening.checkpoint).adapters
                ):  # merged for the server
                    output.computed.packages.update(MODELS, ADAPTERS)
                yield engine
                name = "student" if opening.checkpoint is not None else opening.config.model
                _note_server(name, engine, output.computed)

    return open_own


@contextmanager
def _server(opening: Opening, inputs: Inputs) -> Iterator[ServerEngine]:
    """An engine over a server, started for it if it is a managed one.

    The journal belongs to the model and not to the stage: whoever asks the same again, with other bounds or in another
    run that shares the store, has the answers already.
    """
    config, ranks, folder = opening.config, current_ranks(), inputs.store.root / ENGINES
    writer = f".rank-{ranks.rank}" if ranks.rank else ""
    with ExitStack() as stack:
        model, known_as = stack.enter_context(_served_model(opening, folder))
        name = re.sub(r"[^\w.-]+", "-", known_as)[-40:].strip("-")
        name = f"{name}-{hash_json([to_identity(config), known_as, opening.identity])[:8]}"
        journal = open_journal(folder / f"{name}{writer}.jsonl", others=folder.glob(f"{name}*.jsonl"))
        url, answers = config.url, stack.enter_context(journal)
        if config.kind is EngineKind.managed:
            server = managed_server(
                config.command,
                model=model,
                gpus=config.gpus,
                first_gpu=ranks.local_rank if ranks.size > 1 else None,
                revision=_revision_of(opening),
                health=config.health,
                start_timeout=config.start_timeout,
                log=folder / f"{name}{writer}.log",
            )
            url = f"{stack.enter_context(server)}/v1"
        yield ServerEngine(url, model, config, answers, known_as)


@contextmanager
def _served_model(opening: Opening, above: Path) -> Iterator[tuple[str, str]]:
    """What a server is asked for, and what the journal knows that by: never by a folder that is other elsewhere.

    A checkpoint of adapters is merged into a folder below `above` that lasts as long as it is served; ranks and runs that
    want the same one share it. A hub model is its commit: where the server cannot be told one, it is given a folder with it.
    """
    config, weights = opening.config, None if opening.checkpoint is None else find_weights(opening.checkpoint)
    if weights is None or not weights.adapters:
        model, commit = config.model if weights is None else weights.model, _revision_of(opening)
        is_told = config.kind is EngineKind.managed and "{revision}" in " ".join(config.command)
        yield str(local_snapshot(model, commit)) if commit and not is_told else model, model
        return
    assert opening.checkpoint is not None
    name = f"{MERGED}-{opening.identity[:16]}"
    with shared_folder(above, name, partial(write_merged, opening.checkpoint)) as folder:
        gc.collect()  # the model that was merged, of which references go in circles
        yield str(folder), name


def _revision_of(opening: Opening) -> str:
    """The commit of a hub model that is served; empty for a folder or a file, and for what a running server has loaded."""
    config = opening.config
    if opening.checkpoint is None:
        is_ours = config.kind is EngineKind.managed and not Path(config.model).expanduser().exists()
        return config.revision if is_ours else ""
    weights = find_weights(opening.checkpoint)
    return "" if weights.is_local or weights.adapters else weights.revision


def _note_server(name: str, engine: ServerEngine, computed: Computation) -> None:
    """Enter what a server says that it is. Where all answers were kept from another time, nobody is asked or known."""
    if engine.usage.requests:
        computed.servers[name] = server_version(engine.url)
    elif engine.usage.answers:
        computed.servers.setdefault(name, UNKNOWN_VERSION)


def embedded_engine(
    checkpoint: Path, trainer: TrainerConfig, precision: Precision, computed: Computation
) -> TransformersEngine:
    """An engine over a checkpoint in this process, on the device that the trainer names; both are entered into `computed`."""
    prepare_process(trainer)
    gc.collect()  # the model of an engine before this one, of which references go in circles
    device = resolve_device(trainer.accelerator)
    if device.type == "cuda" and (ranks := current_ranks()).size > 1:
        take_gpu(ranks)
    dtype = resolve_dtype(precision, device)
    computed.devices.add(device_name(device))
    computed.arithmetic.add(arithmetic_of_reading(dtype))
    computed.packages.update(MODELS, ADAPTERS if find_weights(checkpoint).adapters else ())
    student = load_checkpoint(checkpoint, dtype=dtype)
    return TransformersEngine(Student(student.model.to(device), student.tokenizer))


def prepare_process(trainer: TrainerConfig) -> None:
    """Use as many CPU threads as the configuration says, if it does; keep the library's own bars out of the log."""
    disable_progress_bar()
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
