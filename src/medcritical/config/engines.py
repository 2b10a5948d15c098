"""Contradictions between an engine's keys, and between engines and what they are to answer for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from medcritical.config.choices import Accelerator, ClusterKind, EngineKind, StudentKind, TeacherKind, TemplateLevel
from medcritical.config.schema import Config, EngineConfig, TeacherConfig, TemplateConfig

_OWN_FIELDS = {"model", "messages", "temperature", "top_p", "max_tokens", "stop", "n", "seed", "stream"}
_WRITES_OUTLINE = (TemplateLevel.outline, TemplateLevel.both)
_WRITES_CHAIN = (TemplateLevel.detailed, TemplateLevel.both)


def engine_faults(config: Config) -> Iterator[str]:
    """Faults of the student's engine and of a teacher that is asked."""
    yield from _student_faults(config)
    yield from _asked_teacher_faults(config.teacher, config.template)
    engines = {"engine": config.engine}
    if config.teacher.engine is not None:
        engines["teacher.engine"] = config.teacher.engine
    if config.verifier.judge is not None:
        engines["verifier.judge.engine"] = config.verifier.judge.engine
    for name, engine in engines.items():
        yield from _faults(name, engine)
        is_one_process = config.cluster.kind is ClusterKind.local and not config.cluster.isolate
        shares_gpu = config.trainer.accelerator is not Accelerator.cpu and is_one_process
        if engine.kind is EngineKind.managed and shares_gpu:
            yield (
                f"{name}.kind=managed may share a GPU with the trainer, which holds its memory as long as its process "
                "lives: set cluster.isolate=true, or trainer.accelerator=cpu where there is no GPU."
            )
        cluster = config.cluster
        is_spread = cluster.spread_generation and cluster.world_size > 1
        if engine.kind is EngineKind.managed and is_spread and cluster.nproc_per_node % engine.gpus:
            yield (
                f"{name}.gpus={engine.gpus} does not divide cluster.nproc_per_node={cluster.nproc_per_node}: every server "
                "gets as many of a machine's GPUs, and each GPU has its rank."
            )


def _faults(name: str, engine: EngineConfig) -> Iterator[str]:
    if engine.kind is EngineKind.server:
        url = urlsplit(engine.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            yield f"{name}.url must be the root of a running server's API, e.g. {name}.url=http://127.0.0.1:8000/v1."
        elif "@" in url.netloc or url.query:
            yield (
                f"{name}.url holds more than scheme, host, port and path: put the key into an environment variable and name "
                f"that in {name}.api_key_env."
            )
    if engine.kind is EngineKind.managed:
        text = " ".join(engine.command)
        if "{port}" not in text:
            yield f"{name}.command must hold {{port}}, where the server is to listen."
        if "{model}" not in text and not engine.serves_checkpoint:
            yield (
                f"{name}.command does not say {{model}}: add it, or set {name}.serves_checkpoint=true when the server loads "
                "the model that a request names."
            )
        if not engine.health.startswith("/"):
            yield f"{name}.health={engine.health!r} must be a path, e.g. /health."
    if engine.revision and engine.kind is EngineKind.server:
        yield f"{name}.revision={engine.revision} is told to no server: leave it empty."
    taken = sorted(_OWN_FIELDS & set(engine.extra))
    if taken:
        yield f"{name}.extra may not hold {', '.join(taken)}, which other keys decide: remove it there."
    if engine.api_key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", engine.api_key_env):
        # The value is not shown: it may be the key itself.
        yield f"{name}.api_key_env must be the NAME of an environment variable, e.g. OPENAI_API_KEY, never the key itself."


def _student_faults(config: Config) -> Iterator[str]:
    engine = config.engine
    if engine.revision:
        yield f"engine.revision={engine.revision} is of no model: leave it empty (the student's is student.revision)."
    if engine.kind is EngineKind.embedded:
        return
    if config.student.kind is StudentKind.scratch:
        yield (
            f"engine.kind={engine.kind.value} serves pretrained students, not student={config.student.name}, whose tokenizer "
            "only this program knows: choose engine=embedded."
        )
    if engine.kind is EngineKind.server and not engine.serves_checkpoint:
        yield (
            "engine=server answers with the model it has loaded, and the student changes with every training: choose an "
            "engine that is started for each checkpoint, e.g. engine=vllm, or set engine.serves_checkpoint=true if the "
            "server loads whatever folder a request names as its model."
        )
    if engine.model:
        yield (
            f"engine.model={engine.model} names one model, but the student's own checkpoints are to answer: leave it empty "
            "(a teacher's model is teacher.engine.model)."
        )


def _asked_teacher_faults(teacher: TeacherConfig, template: TemplateConfig) -> Iterator[str]:
    if teacher.kind is not TeacherKind.engine:
        if teacher.engine is not None or teacher.sampling is not None:
            yield f"teacher.engine and teacher.sampling must be null for teacher.kind={teacher.kind.value}, who is not asked."
        return
    if teacher.engine is None or teacher.sampling is None:
        yield "teacher.kind=engine needs teacher.engine and teacher.sampling: choose teacher=engine."
        return
    if not teacher.engine.model:
        yield "teacher.engine.model is empty: name the model that is asked, e.g. teacher.engine.model=Qwen/QwQ-32B."
    if teacher.attempts > 1 and teacher.sampling.temperature == 0:
        yield (
            f"teacher.attempts={teacher.attempts} with teacher.sampling.temperature=0 asks for the same answer again: set "
            "attempts to 1 or raise the temperature."
        )
    if teacher.max_characters is not None and teacher.max_characters < teacher.min_characters:
        yield f"teacher.max_characters={teacher.max_characters} is less than min_characters={teacher.min_characters}."
    yield from _teaching_faults(teacher, template)


def _teaching_faults(teacher: TeacherConfig, template: TemplateConfig) -> Iterator[str]:
    """What an asked teacher needs of the template."""
    texts = ["teach", "teach_correction", *(["teach_gold"] if teacher.show_gold else [])]
    for field in texts:
        if not getattr(template, field):
            yield (
                f"template.{field} is empty, so template={template.name} cannot be asked of a teacher: choose another, e.g. "
                "template=two_level_en or template=paper_zh."
            )
    level, taught = template.level, template.teach_level
    for writers in (_WRITES_OUTLINE, _WRITES_CHAIN):
        if level in writers and taught not in writers:
            yield (
                f"template.level={level.value} teaches more than template.teach_level={taught.value} asks the teacher for: "
                "raise teach_level and its texts, or lower level."
            )
