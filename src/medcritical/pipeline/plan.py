"""The plan: a pure function from configuration to stage calls. Nothing is read, written or run here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medcritical.config.choices import (
    Allocation,
    Corrector,
    Match,
    Method,
    Objective,
    Reference,
    Retry,
    StudentKind,
    TeacherKind,
)
from medcritical.config.load import to_identity
from medcritical.config.schema import ArmConfig, Config, OptimConfig, TemplateConfig
from medcritical.config.stages import (
    DpoStage,
    EvaluateStage,
    PairStage,
    PlayStage,
    PrepareStage,
    QuestionRange,
    ReferenceStage,
    ReportRow,
    ReportStage,
    SftStage,
    StageConfig,
    StudentStage,
    TeachStage,
)
from medcritical.store.artefact import ArtefactRef, artefact_key
from medcritical.store.hashing import derive_seed
from medcritical.text.prompts import tags_of

Inputs = dict[str, ArtefactRef]


@dataclass(frozen=True)
class StageCall:
    """One artefact to make: what the stage is told, what it reads, where the result belongs."""

    ref: ArtefactRef
    config: StageConfig
    identity: dict[str, Any]
    inputs: Inputs
    label: str


@dataclass(frozen=True)
class Plan:
    """Stage calls in an order in which every input comes before its readers; the last one is the report."""

    calls: tuple[StageCall, ...]

    @property
    def report(self) -> StageCall:
        """The call that all others serve."""
        return self.calls[-1]


def make_plan(config: Config, sources: Mapping[str, str]) -> Plan:
    """The stage calls of a checked configuration.

    `sources` maps every file or folder that the configuration names to the hash of its content, so that artefacts are known
    by what was read and not by where it lay.
    """
    return _Planner(config, sources).plan()


@dataclass
class _Planner:
    config: Config
    sources: Mapping[str, str]
    calls: dict[str, StageCall] = field(default_factory=dict)
    rows: list[tuple[ReportRow, ArtefactRef, ArtefactRef]] = field(default_factory=list)

    def plan(self) -> Plan:
        config = self.config
        questions = self.add(PrepareStage(data=config.data), {}, "questions")
        base = self.add(self._student(), {}, "base student")
        if config.evaluation.base:
            self.evaluate(questions, base, ReportRow("base", "Student before training", "base", 0, None, config.seed))
        templates, corrections, sft = self._stage_one(questions, base)
        self.evaluate(questions, sft, ReportRow("sft", "SFT on thought templates", "sft", 0, None, config.seed))
        trained: dict[tuple[str, int], Inputs] = {}
        for name in _comparison_order(config.arms):
            arm, policy = config.arms[name], sft
            for iteration in range(1, config.selfplay.iterations + 1):
                if arm.method is Method.continued_sft:
                    policy = self._continued_sft(name, iteration, policy, templates, corrections)
                else:
                    made = self._iteration(name, arm, iteration, questions, policy, sft, trained)
                    trained[name, iteration], policy = made, made["dpo"]
                beta = config.selfplay.beta if arm.objective is Objective.dpo else None
                row = ReportRow(name, arm.title, policy.stage, iteration, beta, config.seed)
                self.evaluate(questions, policy, row)
        self._report()
        return Plan(tuple(self.calls.values()))

    def add(self, stage: StageConfig, inputs: Inputs, label: str) -> ArtefactRef:
        """Plan one call, unless an equal one is there already; the name of its artefact either way."""
        identity = _by_content(to_identity(stage), self.sources)
        ref = ArtefactRef(stage=stage.stage, key=artefact_key(stage.stage, stage.version, identity, inputs))
        self.calls.setdefault(ref.key, StageCall(ref, stage, identity, inputs, label))
        return ref

    def seed(self, *names: str | int) -> int:
        """The seed of one use of randomness. Arms share it, so that they differ in nothing but what they do."""
        return derive_seed(self.config.seed, *names)

    def evaluate(self, questions: ArtefactRef, checkpoint: ArtefactRef, row: ReportRow) -> None:
        """Score a checkpoint and give it a row in the report."""
        config = self.config
        stage = EvaluateStage(
            engine=config.engine,
            data=config.data.name,
            split=config.evaluation.split,
            questions=config.evaluation.questions,
            confidence=config.evaluation.confidence,
            verifier=config.verifier,
            explanation=config.evaluation.explanation,
            permutations=config.evaluation.permutations,
            seed=self.seed("permutations") if config.evaluation.permutations > 1 else 0,
            max_new_tokens=config.generation.max_new_tokens,
            batch_tokens=config.generation.batch_tokens,
            precision=config.trainer.precision,
            template=config.template,
        )
        label = row.arm if row.iteration == 0 else f"{row.arm} iteration {row.iteration}"
        score = self.add(stage, {"questions": questions, "checkpoint": checkpoint}, label)
        self.rows.append((row, score, checkpoint))

    def _student(self) -> StudentStage:
        student, template = self.config.student, self.config.template
        is_scratch = student.kind is StudentKind.scratch
        return StudentStage(
            student=dataclasses.replace(student, lora=None),  # adapters come with training
            words=[*tags_of(template), template.option, template.outline_separator] if is_scratch else [],
            seed=self.seed("student") if is_scratch else 0,
        )

    def _stage_one(
        self, questions: ArtefactRef, base: ArtefactRef
    ) -> tuple[ArtefactRef, ArtefactRef | None, ArtefactRef]:
        """Templates, the second pass's corrections if there is one, and the stage-1 checkpoint."""
        config, optim = self.config, self.config.sft
        is_recorded = config.teacher.kind is TeacherKind.recorded
        teach = TeachStage(
            teacher=config.teacher,
            template=_taught(config),
            questions=QuestionRange(0, optim.templates, 0),
            synthetic_corrections=optim.synthetic_corrections,
            max_wrong=0,
            shuffle_seed=config.data.seed if is_recorded and config.data.shuffle_options else None,
            seed=self.seed("teach"),
        )
        templates = self.add(teach, {"questions": questions}, "thought templates")
        sft = self.add(self._sft(_optim(optim), "sft"), {"checkpoint": base, "templates": templates}, "stage 1")
        second = optim.correction
        if second is None:
            return templates, None, sft
        start = 0 if is_recorded else optim.templates or 0
        play = self._play(QuestionRange(start, second.questions, 0), second.attempts, "sft", 0)
        source = templates if is_recorded else questions
        attempts = self.add(play, {"questions": source, "policy": sft}, "own errors for stage 1")
        correct = dataclasses.replace(
            teach, questions=None, synthetic_corrections=0.0, max_wrong=second.max_wrong, seed=self.seed("correct")
        )
        inputs = {"attempts": attempts, "templates": templates}
        corrections = self.add(correct, inputs, "corrections of own errors")
        again = dataclasses.replace(_optim(optim), learning_rate=second.learning_rate, epochs=second.epochs, steps=None)
        inputs = {"checkpoint": sft, "templates": templates, "corrections": corrections}
        return templates, corrections, self.add(self._sft(again, "sft-corrections"), inputs, "stage 1, second pass")

    def _sft(self, optim: OptimConfig, *seed: str | int) -> SftStage:
        config = self.config
        return SftStage(
            optim=optim,
            template=config.template,
            lora=config.student.lora,
            precision=config.trainer.precision,
            seed=self.seed(*seed),
        )

    def _play(self, questions: QuestionRange, attempts: int, *seed: str | int) -> PlayStage:
        """Uniform attempts without corrections; the loop replaces what it does otherwise."""
        return PlayStage(
            engine=self.config.engine,
            generation=self.config.generation,
            template=self.config.template,
            questions=questions,
            attempts=attempts,
            allocation=Allocation.uniform,
            budget=0,
            max_rounds=0,
            corrections=0,
            verifier=self.config.verifier,
            precision=self.config.trainer.precision,
            seed=self.seed("play", *seed),
        )

    def _continued_sft(
        self, name: str, iteration: int, policy: ArtefactRef, templates: ArtefactRef, corrections: ArtefactRef | None
    ) -> ArtefactRef:
        stage = self._sft(_optim(self.config.dpo), "continued", iteration)
        inputs = {"checkpoint": policy, "templates": templates}
        if corrections is not None:
            inputs["corrections"] = corrections
        return self.add(stage, inputs, f"{name} iteration {iteration}")

    def _iteration(
        self,
        name: str,
        arm: ArmConfig,
        iteration: int,
        questions: ArtefactRef,
        policy: ArtefactRef,
        sft: ArtefactRef,
        trained: Mapping[tuple[str, int], Inputs],
    ) -> Inputs:
        """Play, pair, score by the reference, train. Returns the references of `reference` (if any) and `dpo`."""
        config, loop, label = self.config, self.config.selfplay, f"{name} iteration {iteration}"
        first = self._first_question()
        start = first + (iteration - 1) * (loop.questions or 0)
        play = dataclasses.replace(
            self._play(QuestionRange(start, loop.questions, first), loop.attempts, iteration),
            allocation=loop.allocation,
            budget=loop.budget,
            max_rounds=loop.max_rounds,
            corrections=loop.corrections,
        )
        inputs = {"questions": questions, "policy": policy}
        if arm.retry is Retry.correction:
            inputs["corrector"] = sft if loop.corrector is Corrector.sft else policy
        played = self.add(play, inputs, label)
        pairs = self.add(PairStage(loop.fallback, self.seed("pair", iteration)), {"play": played}, label)
        made: Inputs = {}
        inputs = {"pairs": pairs, "checkpoint": policy}
        if arm.objective is Objective.dpo:
            reference = policy if loop.reference is Reference.previous else sft
            stage = ReferenceStage(config.template, config.dpo.max_length, config.trainer.precision)
            made["reference"] = self.add(stage, {"pairs": pairs, "checkpoint": reference}, label)
            inputs = {"scored": made["reference"], "checkpoint": policy}
        if arm.match is not Match.steps:
            inputs["target"] = trained[arm.against, iteration]["dpo"]
        if arm.match is Match.seconds and "reference" in trained[arm.against, iteration]:
            inputs["target_reference"] = trained[arm.against, iteration]["reference"]
        made["dpo"] = self.add(self._dpo(arm, iteration), inputs, label)
        return made

    def _dpo(self, arm: ArmConfig, iteration: int) -> DpoStage:
        config, has_contrast = self.config, arm.objective is Objective.dpo
        return DpoStage(
            optim=_optim(config.dpo),
            beta=config.selfplay.beta if has_contrast else None,
            label_smoothing=config.dpo.label_smoothing if has_contrast else 0.0,
            nll_weight=config.dpo.nll_weight,
            match=arm.match,
            starts_at_reference=has_contrast and (iteration == 1 or config.selfplay.reference is Reference.previous),
            template=config.template,
            lora=config.student.lora,
            precision=config.trainer.precision,
            seed=self.seed("dpo", iteration),
        )

    def _first_question(self) -> int:
        """The first train question of self-play: after those that stage 1 has used, where it uses train questions."""
        sft = self.config.sft
        if self.config.teacher.kind is TeacherKind.recorded or sft.templates is None:
            return 0
        return sft.templates + (sft.correction.questions if sft.correction else 0)

    def _report(self) -> None:
        config, order = self.config, ["base", "sft", *self.config.arms]
        rows = sorted(self.rows, key=lambda item: order.index(item[0].arm))
        stage = ReportStage(
            name=config.name,
            rows=[row for row, _, _ in rows],
            report=config.report,
            confidence=config.evaluation.confidence,
        )
        inputs = {}
        for number, (_, score, checkpoint) in enumerate(rows):
            inputs[f"score-{number}"], inputs[f"checkpoint-{number}"] = score, checkpoint
        self.add(stage, inputs, "tables and figures")


def _optim(config: OptimConfig) -> OptimConfig:
    """The optimisation part of an `sft` or `dpo` group, without what else the group holds."""
    return OptimConfig(**{item.name: getattr(config, item.name) for item in dataclasses.fields(OptimConfig)})


def _taught(config: Config) -> TemplateConfig:
    """The template for the teacher. One that is asked writes all that `teach_level` says, whatever of it is taught, so
    that every level of an ablation has the same thoughts and they are paid for once."""
    if config.teacher.kind is TeacherKind.engine:
        return dataclasses.replace(config.template, level=config.template.teach_level)
    return config.template


def _comparison_order(arms: Mapping[str, ArmConfig]) -> list[str]:
    """Arm names in the given order, arms that are matched to another one after it."""
    return sorted(arms, key=lambda name: arms[name].match is not Match.steps)


def _by_content(value: Any, sources: Mapping[str, str]) -> Any:
    """`value` with every path that `sources` knows replaced by the hash of its content."""
    if isinstance(value, dict):
        return {name: _by_content(item, sources) for name, item in value.items()}
    if isinstance(value, list):
        return [_by_content(item, sources) for item in value]
    return sources.get(value, value) if isinstance(value, str) else value
