"""Contradictions between configuration values: each rule gives one sentence naming keys, values and the remedy."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

from medcritical.config.arms import arm_faults
from medcritical.config.choices import (
    DataFormat,
    Method,
    StudentKind,
    TeacherKind,
    TemplateLevel,
    VerifierKind,
)
from medcritical.config.cluster import cluster_faults
from medcritical.config.engines import engine_faults
from medcritical.config.schema import Config, OptimConfig, TemplateConfig, VerifierConfig
from medcritical.config.sweeps import sweep_faults

_PLACEHOLDERS = {
    "question": {"stem", "options"},
    "option": {"letter", "text"},
    "attempt": {"question"},
    "correction": {"question", "attempt"},
    "outline": {"outline"},
    "chain": {"chain"},
    "answer": {"answer"},
    "insight": {"insight"},
    "teach": {"question"},
    "teach_correction": {"question", "attempt"},
    "teach_gold": {"answer"},
    "step": {"number"},
    "step_correction": {"question", "attempt"},
}
_MAY_BE_EMPTY = ("teach", "teach_correction", "teach_gold", "step_correction")
_CHAINS = {
    DataFormat.huatuo_json: ("response", "complex_cot"),
    DataFormat.cmexam_csv: ("explanation",),
    DataFormat.jsonl: ("chain",),
}
"""The values of `teacher.chain` by format of the traces."""


def contradictions(config: Config) -> Iterator[str]:
    """All contradictions of a configuration whose types and ranges are right."""
    if not re.fullmatch(r"\w[\w.-]*", config.name):
        yield f"name={config.name} is no folder name: use letters, digits, '.', '_' and '-', a letter or digit first."
    yield from _data_faults(config)
    yield from _pool_faults(config)
    yield from _dev_faults(config)
    yield from _teacher_faults(config)
    yield from engine_faults(config)
    yield from _student_faults(config)
    yield from _template_faults("template", config.template)
    if config.evaluation.prompt:
        yield from _placeholder_faults("evaluation.prompt", config.evaluation.prompt, {"question"})
    yield from _verifier_faults(config.verifier)
    yield from _optim_faults("sft", config.sft)
    yield from _optim_faults("dpo", config.dpo)
    yield from arm_faults(config)
    yield from _baseline_faults(config)
    yield from sweep_faults(config)
    yield from cluster_faults(config)
    if not config.paths.store:
        yield "paths.store is empty: name a folder, or unset MEDCRITICAL_STORE for the default."
    if config.evaluation.split not in ("dev", "test"):
        yield f"evaluation.split={config.evaluation.split} cannot be scored: choose dev or test."


def _data_faults(config: Config) -> Iterator[str]:
    data = config.data
    if (data.format is DataFormat.clinic) != (data.world is not None):
        yield f"data.world must be set for data.format=clinic and null otherwise; data.format is {data.format.value}."
    if data.format is DataFormat.clinic:
        if None in (data.sizes.train, data.sizes.dev, data.sizes.test):
            yield "data.sizes of the clinic must all be numbers: it can make any number of questions."
        else:
            yield from _size_faults(config)
    elif not (data.files.train + data.files.dev + data.files.test):
        yield f"data.files is empty: list at least one {data.format.value} file, e.g. data.files.train=[FILE]."
    elif data.split.value == "official" and not (data.files.train and data.files.test):
        yield "data.split=official needs data.files.train and data.files.test; with one file set data.split=seeded."
    elif data.split.value == "test_ids" and not (data.files.train and data.files.test and not data.files.dev):
        yield (
            "data.split=test_ids needs questions in data.files.train, lists of test ids in data.files.test, and an empty "
            "data.files.dev."
        )
    elif data.split.value == "test_ids" and data.sizes.dev is None:
        yield "data.split=test_ids needs data.sizes.dev as a number: dev is drawn from what the test ids leave."
    elif data.split.value == "seeded" and (data.sizes.dev is None or data.sizes.test is None):
        yield "data.split=seeded needs data.sizes.dev and data.sizes.test as numbers, e.g. data.sizes.test=200."
    if data.language not in ("en", "zh"):
        yield f"data.language={data.language} is not supported: choose en or zh."
    if data.world is not None:
        world = data.world
        if world.noise_min > world.noise_max:
            yield f"data.world.noise_min={world.noise_min} is more than data.world.noise_max={world.noise_max}."
        if world.diagnosis + world.test + world.treatment <= 0:
            yield "data.world.diagnosis, test and treatment are all 0: give at least one kind of question a share."


def _size_faults(config: Config) -> Iterator[str]:
    """What the clinic's sizes cannot serve: said now, not after stage 1 has been trained."""
    sizes, sft = config.data.sizes, config.sft
    if (sft.templates or 0) > (sizes.train or 0):
        yield f"sft.templates={sft.templates} is more than data.sizes.train={sizes.train}: lower it or raise that."


def _dev_faults(config: Config) -> Iterator[str]:
    """Dev questions that are asked for where none can be: said now, not after trainings."""
    data, wanted = config.data, []
    if config.evaluation.split == "dev":
        wanted.append(("evaluation.split=dev", "choose evaluation.split=test"))
    if config.selfplay.gate is not None and any(arm.method is Method.selfplay for arm in config.arms.values()):
        wanted.append(("selfplay.gate", "set selfplay.gate=null"))
    is_clinic = data.format is DataFormat.clinic
    has_no_file = data.split.value == "official" and not is_clinic and not data.files.dev
    for key, otherwise in wanted:
        if has_no_file:
            yield f"{key} needs dev questions, and data.files.dev is empty: list a file, set data.split=seeded, or {otherwise}."
        elif data.sizes.dev == 0 or (is_clinic and not data.sizes.dev):
            yield f"{key} needs dev questions, and data.sizes.dev={data.sizes.dev}: raise it, or {otherwise}."


def _pool_faults(config: Config) -> Iterator[str]:
    """More questions to play on than there are, where the configuration says how many there are."""
    train, wanted, sft = config.data.sizes.train, config.selfplay.questions, config.sft
    if train is None or all(arm.method is not Method.selfplay for arm in config.arms.values()):
        return
    uses_own = config.teacher.kind is not TeacherKind.recorded and sft.templates is not None
    taught = (sft.templates or 0) + (sft.correction.questions if sft.correction else 0) if uses_own else 0
    if taught >= train:
        yield (
            f"data.sizes.train={train} leaves no question for self-play after the {taught} of sft.templates and "
            "sft.correction.questions: raise it or lower those."
        )
    elif wanted is not None and wanted > train - taught:
        yield (
            f"selfplay.questions={wanted} is more than the {train - taught} train questions that data.sizes.train={train} "
            f"and stage 1 leave: lower it, or set it to null for all."
        )


def _teacher_faults(config: Config) -> Iterator[str]:
    teacher, is_clinic = config.teacher, config.data.format is DataFormat.clinic
    if teacher.kind is TeacherKind.oracle and not is_clinic:
        yield f"teacher=oracle knows only the clinic, not data={config.data.name}: choose teacher=recorded or teacher=engine."
    if teacher.kind is TeacherKind.recorded:
        if not teacher.files or teacher.format is None:
            yield "teacher=recorded needs teacher.files and teacher.format."
        elif teacher.format not in _CHAINS:
            known = ", ".join(format.value for format in _CHAINS)
            yield f"teacher.format={teacher.format.value} holds no recorded traces: choose one of {known}."
        elif teacher.chain not in _CHAINS[teacher.format]:
            allowed = " or ".join(_CHAINS[teacher.format])
            yield f"teacher.chain={teacher.chain!r} is no field of a {teacher.format.value} trace: choose {allowed}."
        asks_for_outline = config.template.level in (TemplateLevel.outline, TemplateLevel.both)
        if asks_for_outline and teacher.format is not DataFormat.jsonl:  # one's own traces may have outlines
            yield (
                f"template.level={config.template.level.value} asks for outlines, which these recorded traces do not have: "
                "choose template=detailed_en or template.level=detailed."
            )
    if teacher.kind is not TeacherKind.oracle and config.sft.synthetic_corrections > 0:
        yield (
            f"sft.synthetic_corrections={config.sft.synthetic_corrections:g} needs teacher=oracle: no other teacher makes "
            "wrong attempts; set it to 0."
        )


def _student_faults(config: Config) -> Iterator[str]:
    student = config.student
    if student.kind is StudentKind.scratch:
        if student.source:
            yield (
                f"student.source={student.source} would not be read, for student={student.name} is made from scratch: choose "
                "student=smollm2_135m or student=qwen2_5_7b beside it."
            )
        if student.architecture is None:
            yield "student.architecture is null: a student from scratch needs a shape, e.g. student=tiny."
        elif student.architecture.hidden_size % (2 * student.architecture.num_heads):
            yield (
                f"student.architecture.hidden_size={student.architecture.hidden_size} must be an even multiple of "
                f"num_heads={student.architecture.num_heads}."
            )
        else:
            yield from _position_faults(config, student.architecture.max_position_embeddings)
        if config.data.format is not DataFormat.clinic:
            yield (
                f"student={student.name} knows only the clinic's words, not data={config.data.name}: choose a pretrained "
                "student, e.g. student=smollm2_135m."
            )
    else:
        if not student.source:
            yield "student.source is empty: give a Hugging Face id, a local folder or package:NAME/FILE.gguf."
        for group, optim in (("sft", config.sft), ("dpo", config.dpo)):
            if optim.learning_rate > 2e-3:
                yield (
                    f"{group}.learning_rate={optim.learning_rate:g} is for a student from scratch and would wreck a "
                    f"pretrained one: choose {group}=pretrained or a rate of at most 0.002."
                )


def _position_faults(config: Config, positions: int) -> Iterator[str]:
    """Limits that no response can reach: its prompt takes at least one of the student's positions."""
    generation = config.generation
    limits = {
        "generation.max_new_tokens": generation.max_new_tokens,
        "generation.correction_max_new_tokens": generation.correction_max_new_tokens,
        "evaluation.max_new_tokens": config.evaluation.max_new_tokens or 1,
    }
    for name, limit in limits.items():
        if limit >= positions:
            yield (
                f"{name}={limit} does not fit beside a prompt into "
                f"student.architecture.max_position_embeddings={positions}: lower it or raise that."
            )


def _template_faults(group: str, template: TemplateConfig) -> Iterator[str]:
    for field, required in _PLACEHOLDERS.items():
        text = getattr(template, field)
        if not text and field in _MAY_BE_EMPTY:
            continue
        yield from _placeholder_faults(f"{group}.{field}", text, required)


def _baseline_faults(config: Config) -> Iterator[str]:
    for name, baseline in config.baselines.items():
        if baseline.student.kind is not StudentKind.pretrained or not baseline.student.source:
            yield (
                f"baselines.{name}.student must be a published model: set kind to pretrained and source to a Hugging Face "
                "id or a local folder."
            )
        yield from _template_faults(f"baselines.{name}.template", baseline.template)


def _verifier_faults(verifier: VerifierConfig) -> Iterator[str]:
    judge = verifier.judge
    if (verifier.kind is VerifierKind.judge) != (judge is not None):
        yield f"verifier.judge must be set for verifier.kind=judge and null for exact; it is {verifier.kind.value} here."
    if judge is None:
        return
    if not judge.engine.model:
        yield "verifier.judge.engine.model is empty: name the judge, e.g. verifier.judge.engine.model=Qwen/QwQ-32B."
    yield from _placeholder_faults("verifier.judge.prompt", judge.prompt, {"question", "gold", "reply"})


def _placeholder_faults(name: str, text: str, required: set[str]) -> Iterator[str]:
    """Each of the required placeholders has to be there just once, and no other."""
    try:
        found = [_written(field, *rest) for _, field, *rest in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        yield f"{name} is no format text ({error}): write {{{{ and }}}} for braces."
        return
    if sorted(found) != sorted(required):
        wanted = " and ".join(f"{{{field}}}" for field in sorted(required))
        yield f"{name}={text!r} must contain {wanted}, just so and once each, and no other placeholder."


def _written(name: str, form: str | None, conversion: str | None) -> str:
    """A placeholder as it stands in the text, its conversion and format included."""
    return name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")


def _optim_faults(group: str, optim: OptimConfig) -> Iterator[str]:
    if (optim.epochs is None) == (optim.steps is None):
        yield (
            f"{group}.epochs={optim.epochs} and {group}.steps={optim.steps}: give exactly one of them and set the other to "
            "null."
        )
    if optim.steps is not None and optim.warmup_steps > optim.steps:
        yield f"{group}.warmup_steps={optim.warmup_steps} is more than {group}.steps={optim.steps}."
    if optim.warmup_share and optim.warmup_steps:
        yield (
            f"{group}.warmup_steps={optim.warmup_steps} and {group}.warmup_share={optim.warmup_share:g}: set one of them to 0."
        )
