"""Groups of the configuration as a stage reads them: what is not read under their kind is blank. Pure.

So a slice says what its stage knows, and a key that is not read changes no artefact.
"""

from __future__ import annotations

import dataclasses
import typing
from enum import Enum
from typing import Any, TypeVar

from medcritical.config.choices import DataFormat, EngineKind, Precision, TeacherKind
from medcritical.config.schema import Config, DataConfig, EngineConfig, TeacherConfig, VerifierConfig

T = TypeVar("T")

_CLINIC = ("format", "files", "sizes", "seed", "contamination", "shuffle_options", "world")
_RECORDED = ("files", "format", "chain", "language", "encoding", "on_error")
_KEPT = ("checked", "min_characters", "max_characters")
_TEACHERS: dict[TeacherKind, tuple[str, ...]] = {
    TeacherKind.oracle: ("kind",),
    TeacherKind.recorded: ("kind", *_KEPT, *_RECORDED),
    TeacherKind.engine: ("kind", *_KEPT, "engine", "sampling", "attempts", "head_cut", "show_gold", "chat_template"),
}
_ENGINES: dict[EngineKind, tuple[str, ...]] = {
    EngineKind.embedded: ("kind", "model", "revision"),
    EngineKind.server: ("kind", "model", "extra", "revision"),
    EngineKind.managed: ("kind", "model", "command", "extra", "revision"),
}


def data_as_read(data: DataConfig) -> DataConfig:
    """The clinic reads no files, so nothing of how files are read."""
    return _only(data, _CLINIC) if data.format is DataFormat.clinic else data


def teacher_as_read(teacher: TeacherConfig) -> TeacherConfig:
    """What a teacher of this kind reads. Its seed is in the stage's own."""
    known = _only(teacher, _TEACHERS[teacher.kind])
    return known if known.engine is None else dataclasses.replace(known, engine=engine_as_read(known.engine))


def engine_as_read(engine: EngineConfig) -> EngineConfig:
    """What an engine of this kind reads."""
    return _only(engine, _ENGINES[engine.kind])


def precision_as_read(config: Config) -> Precision:
    """In what the student answers: a server decides that itself."""
    return config.trainer.precision if config.engine.kind is EngineKind.embedded else Precision.auto


def verifier_as_read(verifier: VerifierConfig) -> VerifierConfig:
    """The verifier with its judge's engine as that is read."""
    if verifier.judge is None:
        return verifier
    judge = dataclasses.replace(verifier.judge, engine=engine_as_read(verifier.judge.engine))
    return dataclasses.replace(verifier, judge=judge)


def _only(config: T, names: tuple[str, ...]) -> T:
    """A copy with every semantic field but these blank."""
    hints = typing.get_type_hints(type(config))
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    others = [field.name for field in fields if field.metadata["semantic"] and field.name not in names]
    return dataclasses.replace(config, **{name: _blank(hints[name]) for name in others})  # type: ignore[type-var]


def _blank(hint: Any) -> Any:
    if type(None) in typing.get_args(hint):
        return None
    kind = typing.get_origin(hint) or hint
    return next(iter(kind)) if issubclass(kind, Enum) else kind()
