"""What each stage is told: the slices of a configuration. Pure; the plan joins them up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from medcritical.config.choices import (
    Allocation,
    Corrector,
    Match,
    Objective,
    Replay,
    Retry,
    RightBy,
    StudentKind,
    TeacherKind,
)
from medcritical.config.schema import (
    ArmConfig,
    BaselineConfig,
    Config,
    LossConfig,
    OptimConfig,
    StudentConfig,
    TemplateConfig,
)
from medcritical.config.stages import (
    CORRECTING,
    DpoStage,
    EvaluateStage,
    PairStage,
    PlayStage,
    PublishedValue,
    QuestionRange,
    SftStage,
    StudentStage,
    TeachStage,
)
from medcritical.pipeline.comparison import trained_match
from medcritical.store.hashing import derive_seed
from medcritical.text.prompts import tags_of


class Slices:
    """The slices of one configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def seed(self, *names: str | int) -> int:
        """The seed of one use of randomness. Arms share it, so that they differ in nothing but what they do."""
        return derive_seed(self.config.seed, *names)

    def student(self, student: StudentConfig, template: TemplateConfig) -> StudentStage:
        """A model as it comes. Adapters come with training."""
        is_scratch = student.kind is StudentKind.scratch
        return StudentStage(
            student=dataclasses.replace(student, lora=None),
            words=[*tags_of(template), template.option, template.outline_separator] if is_scratch else [],
            seed=self.seed("student") if is_scratch else 0,
        )

    def evaluation(self) -> EvaluateStage:
        """How the student is scored: with the configured prompt at test, if that is another one than in training."""
        config, evaluation = self.config, self.config.evaluation
        template = config.template
        if evaluation.prompt:
            template = dataclasses.replace(template, attempt=evaluation.prompt)
        is_sampled = evaluation.temperature > 0
        return EvaluateStage(
            engine=config.engine,
            data=config.data.name,
            split=evaluation.split,
            questions=evaluation.questions,
            verifier=config.verifier,
            chat_template=evaluation.chat_template,
            count_undecided=evaluation.count_undecided,
            explanation=evaluation.explanation,
            permutations=evaluation.permutations,
            votes=1,
            temperature=evaluation.temperature,
            top_p=evaluation.top_p if is_sampled else 1.0,
            seed=self.seed("permutations") if is_sampled or evaluation.permutations > 1 else 0,
            max_new_tokens=evaluation.max_new_tokens or config.generation.max_new_tokens,
            batch_tokens=config.generation.batch_tokens,
            precision=config.trainer.precision,
            template=template,
        )

    def baseline(self, baseline: BaselineConfig) -> EvaluateStage:
        """How a published model is scored: asked in its own way."""
        is_sampled = baseline.temperature > 0
        return dataclasses.replace(
            self.evaluation(),
            template=baseline.template,
            chat_template=True,
            temperature=baseline.temperature,
            top_p=baseline.top_p if is_sampled else 1.0,
            seed=self.seed("permutations") if is_sampled or self.config.evaluation.permutations > 1 else 0,
            max_new_tokens=baseline.max_new_tokens,
        )

    def majority_vote(self) -> EvaluateStage:
        """Self-consistency: samples drawn as generation says, and the commonest answer."""
        drawn = self.config.generation
        return dataclasses.replace(
            self.evaluation(),
            votes=self.config.evaluation.votes,
            temperature=drawn.temperature,
            top_p=drawn.top_p,
            permutations=1,
            seed=self.seed("votes"),
        )

    def dev(self, questions: int | None) -> EvaluateStage:
        """How the gate scores a policy."""
        return dataclasses.replace(
            self.evaluation(), split="dev", questions=questions, explanation=False, permutations=1
        )

    def teach(self, questions: QuestionRange | None, *seed: str | int) -> TeachStage:
        """Thought templates on questions; without questions, corrections of the attempts that are its input."""
        config = self.config
        is_recorded = config.teacher.kind is TeacherKind.recorded
        return TeachStage(
            teacher=config.teacher,
            template=_taught(config),
            questions=questions,
            synthetic_corrections=0.0,
            max_wrong=0,
            shuffle_seed=config.data.seed if is_recorded and config.data.shuffle_options else None,
            contamination=config.data.contamination if is_recorded and questions is not None else None,
            seed=self.seed(*seed),
        )

    def sft(self, optim: OptimConfig, *seed: str | int) -> SftStage:
        """Training on templates and corrections."""
        config = self.config
        return SftStage(
            optim=optim,
            match=Match.steps,
            correction_form=config.sft.correction_form,
            template=config.template,
            lora=config.student.lora,
            precision=config.trainer.precision,
            seed=self.seed(*seed),
        )

    def own_errors(self, questions: QuestionRange, attempts: int, *seed: str | int) -> PlayStage:
        """Attempts, as many on every question, without corrections."""
        config = self.config
        return PlayStage(
            engine=config.engine,
            generation=config.generation,
            template=config.template,
            questions=questions,
            attempts=attempts,
            retry=[],
            right_by=RightBy.answer,
            allocation=Allocation.uniform,
            budget=0,
            max_rounds=0,
            corrections=0,
            verifier=config.verifier,
            precision=config.trainer.precision,
            seed=self.seed("play", *seed),
        )

    def play(self, arm: ArmConfig, iteration: int) -> PlayStage:
        """Attempts and retries of one iteration."""
        loop = self.config.selfplay
        return dataclasses.replace(
            self.own_errors(self.questions_of(iteration), loop.attempts, iteration),
            retry=arm.retry,
            right_by=loop.right_by,
            allocation=loop.allocation,
            budget=loop.budget,
            max_rounds=loop.max_rounds,
            corrections=loop.corrections,
        )

    def matched_play(self, arm: ArmConfig, iteration: int) -> PlayStage:
        """The same until as many tokens are written as in another arm's play; more attempts where the arm has no retries."""
        return dataclasses.replace(self.play(arm, iteration), retry=arm.retry or [Retry.resample], budget=0)

    def pair(self, arm: ArmConfig, iteration: int) -> PairStage:
        """The pairs of one iteration."""
        loop = self.config.selfplay
        return PairStage(
            template=self.config.template,
            chosen=arm.chosen,
            fallback=loop.fallback,
            filters=loop.filters,
            trains_corrector=loop.corrector is Corrector.trained and corrects(arm),
            iteration=iteration,
            replay_from=iteration - loop.replay_iterations if loop.replay is Replay.last_k else 1,
            seed=self.seed("pair", iteration),
        )

    def dpo(self, name: str, arm: ArmConfig, iteration: int, *, at_reference: bool) -> DpoStage:
        """The preference training of one iteration."""
        config, has_contrast = self.config, arm.objective is Objective.dpo
        return DpoStage(
            optim=self.dpo_optim(iteration),
            beta=self.beta(iteration) if has_contrast else None,
            loss=loss_of(config.dpo) if has_contrast else None,
            nll_weight=config.dpo.nll_weight,
            match=trained_match(config, name),
            starts_at_reference=has_contrast and at_reference,
            template=config.template,
            lora=config.student.lora,
            precision=config.trainer.precision,
            seed=self.seed("dpo", iteration),
        )

    def beta(self, iteration: int) -> float:
        """Beta of one iteration."""
        return scheduled(self.config.selfplay.betas, self.config.selfplay.beta, iteration)

    def dpo_optim(self, iteration: int) -> OptimConfig:
        """The optimisation of one iteration's training."""
        optim = optim_of(self.config.dpo)
        rate = scheduled(self.config.selfplay.learning_rates, optim.learning_rate, iteration)
        return dataclasses.replace(optim, learning_rate=rate)

    def questions_of(self, iteration: int) -> QuestionRange:
        """The train questions of an iteration: fresh ones first, after those that stage 1 has used, if it used any."""
        sft, loop = self.config.sft, self.config.selfplay
        first = 0
        if self.config.teacher.kind is not TeacherKind.recorded and sft.templates is not None:
            first = sft.templates + (sft.correction.questions if sft.correction else 0)
        return QuestionRange(first + (iteration - 1) * (loop.questions or 0), loop.questions, first)


def scheduled(values: Sequence[float], otherwise: float, iteration: int) -> float:
    """The value of an iteration, which count from 1: the last one stays; `otherwise` where there is none."""
    return values[min(iteration, len(values)) - 1] if values else otherwise


def corrects(arm: ArmConfig) -> bool:
    """True when a corrector is asked."""
    return any(retry in CORRECTING for retry in arm.retry)


def optim_of(config: OptimConfig) -> OptimConfig:
    """The optimisation part of an `sft` or `dpo` group, without what else the group holds."""
    return OptimConfig(**{item.name: getattr(config, item.name) for item in dataclasses.fields(OptimConfig)})


def loss_of(config: LossConfig) -> LossConfig:
    """The preference loss of a `dpo` group, likewise."""
    return LossConfig(**{item.name: getattr(config, item.name) for item in dataclasses.fields(LossConfig)})


def published_values(config: Config) -> Iterator[PublishedValue]:
    """What was published of rows of this run: of its baselines, and what the experiment says of itself."""
    experiment = config.experiment
    if experiment.row:
        yield PublishedValue(
            arm=experiment.row,
            accuracy=experiment.published,
            source=experiment.source,
            fidelity=experiment.fidelity,
            settings=_settings(Slices(config).evaluation()),
        )
    for name, baseline in config.baselines.items():
        settings = _settings(Slices(config).baseline(baseline))
        yield PublishedValue(name, baseline.published, baseline.source, "official", settings)


def _settings(stage: EvaluateStage) -> str:
    sampled = f"temperature {stage.temperature:g}, top_p {stage.top_p:g}" if stage.temperature > 0 else "greedy"
    verifier = "exact letters" if stage.verifier.judge is None else f"judge {stage.verifier.judge.name}"
    asked = f"template {stage.template.name}" + ("" if stage.chat_template else " without the chat template")
    return f"{stage.data} {stage.split}, {asked}, {sampled}, {stage.max_new_tokens} tokens, {verifier}"


def _taught(config: Config) -> TemplateConfig:
    """The template for the teacher. One that is asked writes all that `teach_level` says, whatever of it is taught, so
    that every level of an ablation has the same thoughts and they are paid for once."""
    if config.teacher.kind is TeacherKind.engine:
        return dataclasses.replace(config.template, level=config.template.teach_level)
    return config.template
