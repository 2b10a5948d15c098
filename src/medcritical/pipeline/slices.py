"""What each stage is told: the slices of a configuration. Pure; the plan joins them up.

A slice holds what its stage reads. What it does not read under this configuration has one fixed value, so that changing it
changes no key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from medcritical.config.choices import (
    Allocation,
    Arithmetic,
    Chosen,
    CorrectionForm,
    Corrector,
    Fallback,
    Match,
    Objective,
    PairWeight,
    Replay,
    Retry,
    RightBy,
    StudentKind,
    TeacherKind,
)
from medcritical.config.cluster import stated_arithmetic
from medcritical.config.schema import (
    ArmConfig,
    Config,
    LossConfig,
    OptimConfig,
    StudentConfig,
    TemplateConfig,
)
from medcritical.config.stages import (
    CORRECTING,
    DpoStage,
    PairStage,
    PlayStage,
    QuestionRange,
    ReferenceStage,
    SftStage,
    StudentStage,
    TeachStage,
)
from medcritical.pipeline.comparison import trained_match
from medcritical.pipeline.template_texts import ASKED, FORM, SHOWN, SPLICED, WRITTEN, correcting_texts, reading
from medcritical.pipeline.unread import engine_as_read, precision_as_read, teacher_as_read, verifier_as_read
from medcritical.store.hashing import derive_seed
from medcritical.text.prompts import tags_of


class Slices:
    """The slices of one configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def seed(self, *names: str | int) -> int:
        """The seed of one use of randomness in training. Arms share it, so that they differ in nothing but what they do."""
        return derive_seed(self.config.seed, *names)

    def student(self, student: StudentConfig, template: TemplateConfig, root: int) -> StudentStage:
        """A model as it comes. Adapters come with training. The weights of one from scratch are drawn from `root`."""
        is_scratch = student.kind is StudentKind.scratch
        return StudentStage(
            student=dataclasses.replace(student, lora=None),
            words=[*tags_of(template), template.option, template.outline_separator] if is_scratch else [],
            seed=derive_seed(root, "student") if is_scratch else 0,
        )

    def teach(self, questions: QuestionRange | None, *seed: str | int) -> TeachStage:
        """Thought templates on questions; without questions, corrections of the attempts that are its input."""
        config = self.config
        is_recorded = config.teacher.kind is TeacherKind.recorded
        return TeachStage(
            teacher=teacher_as_read(config.teacher),
            template=reading(_taught(config), *self._teachers_texts(corrects=questions is None)),
            questions=questions,
            synthetic_corrections=0.0,
            max_wrong=0,
            shuffle_seed=config.data.seed if is_recorded and config.data.shuffle_options else None,
            contamination=config.data.contamination if is_recorded and questions is not None else None,
            seed=derive_seed(config.teacher.seed, *seed) if self._teacher_draws(questions) else 0,
        )

    def _teacher_draws(self, questions: QuestionRange | None) -> bool:
        """True where something depends on the teacher's seed: the oracle draws synthetic errors alone."""
        is_oracle = self.config.teacher.kind is TeacherKind.oracle
        return not is_oracle or (questions is not None and self.config.sft.synthetic_corrections > 0)

    def _teachers_texts(self, *, corrects: bool) -> tuple[str, ...]:
        """The texts that a teacher of this kind reads for templates, or for corrections of attempts."""
        match self.config.teacher.kind:
            case TeacherKind.oracle:
                return WRITTEN
            case TeacherKind.recorded:
                return (*WRITTEN, "wrong_answer") if corrects else (*WRITTEN, "answer_as")
            case TeacherKind.engine:
                gold = ("teach_gold", "answer_as") if self.config.teacher.show_gold else ("answer_as",)
                return ("system", *SHOWN, *WRITTEN, *gold, "teach_correction" if corrects else "teach")

    def sft(self, optim: OptimConfig, *seed: str | int) -> SftStage:
        """Training on templates and corrections."""
        config = self.config
        return SftStage(
            optim=optim,
            match=Match.steps,
            correction_form=config.sft.correction_form if self._teaches_corrections else CorrectionForm.whole,
            template=reading(config.template, *ASKED, *WRITTEN, *self._taught_corrections()),
            lora=config.student.lora,
            seed=self.seed(*seed),
            arithmetic=self.arithmetic,
        )

    @property
    def arithmetic(self) -> Arithmetic | None:
        """What is computed in as far as the configuration says."""
        return stated_arithmetic(self.config.trainer.precision, self.config.strategy.kind)

    def own_errors(self, questions: QuestionRange, attempts: int, *seed: str | int) -> PlayStage:
        """Attempts, as many on every question, without retries or corrections."""
        config = self.config
        return PlayStage(
            engine=engine_as_read(config.engine),
            generation=dataclasses.replace(config.generation, correction_max_new_tokens=0),
            template=reading(config.template, *ASKED, *FORM),
            questions=questions,
            attempts=attempts,
            retry=[],
            right_by=RightBy.answer,
            allocation=Allocation.uniform,
            budget=0,
            max_rounds=0,
            corrections=0,
            verifier=verifier_as_read(config.verifier),
            seed=self.seed("play", *seed),
            precision=precision_as_read(config),
        )

    def play(self, arm: ArmConfig, iteration: int) -> PlayStage:
        """Attempts and retries of one iteration."""
        loop = self.config.selfplay
        stage = dataclasses.replace(
            self.own_errors(self.questions_of(iteration), loop.attempts, iteration), right_by=loop.right_by
        )
        if corrects(arm):
            stage.generation = self.config.generation
            spliced = SPLICED if Retry.step in arm.retry else ()
            stage.template = reading(self.config.template, *ASKED, *FORM, *correcting_texts(arm), *spliced)
        if not arm.retry or (loop.allocation is Allocation.uniform and not corrects(arm)):
            return stage
        if loop.allocation is Allocation.uniform:
            return dataclasses.replace(stage, retry=arm.retry, corrections=loop.corrections)
        return dataclasses.replace(
            stage, retry=arm.retry, allocation=loop.allocation, budget=loop.budget, max_rounds=loop.max_rounds
        )

    def matched_play(self, arm: ArmConfig, iteration: int) -> PlayStage:
        """The same until as many tokens are written as in another arm's play; more attempts where the arm has no retries."""
        retrying = dataclasses.replace(arm, retry=arm.retry or [Retry.resample])
        return dataclasses.replace(self.play(retrying, iteration), budget=0)

    def pair(self, arm: ArmConfig, iteration: int) -> PairStage:
        """The pairs of one iteration."""
        loop, is_written = self.config.selfplay, arm.chosen is not Chosen.student
        written = (*WRITTEN, "answer_as") if is_written else ()
        return PairStage(
            template=reading(self.config.template, *written),
            chosen=arm.chosen,
            fallback=loop.fallback if arm.chosen is Chosen.student else Fallback.own,
            filters=loop.filters,
            trains_corrector=loop.corrector is Corrector.trained and corrects(arm),
            iteration=iteration,
            replay_from=iteration - loop.replay_iterations if loop.replay is Replay.last_k else 1,
            seed=self.seed("pair", iteration),
            pairs_per_question=loop.pairs_per_question,
            keeps_alone=self.nll_weight(arm) > 0,
        )

    def dpo(self, name: str, arm: ArmConfig, iteration: int, *, at_reference: bool) -> DpoStage:
        """The preference training of one iteration."""
        config, has_contrast = self.config, arm.objective is Objective.dpo
        return DpoStage(
            optim=self.dpo_optim(iteration),
            beta=self.beta(iteration) if has_contrast else None,
            loss=loss_of(config.dpo) if has_contrast else None,
            nll_weight=self.nll_weight(arm),
            match=trained_match(config, name),
            starts_at_reference=has_contrast and at_reference,
            template=self._paired(arm),
            lora=config.student.lora,
            seed=self.seed("dpo", iteration),
            pair_weight=config.dpo.pair_weight if self._has_several_pairs(arm) else PairWeight.per_pair,
            arithmetic=self.arithmetic,
        )

    def reference(self, arm: ArmConfig) -> ReferenceStage:
        """The scoring of pairs by the reference."""
        return ReferenceStage(self._paired(arm), self.config.dpo.max_length, self.arithmetic)

    def _paired(self, arm: ArmConfig) -> TemplateConfig:
        """The template for whoever encodes pairs: those for the corrector answer its prompts."""
        is_trained = self.config.selfplay.corrector is Corrector.trained
        return reading(self.config.template, *ASKED, *(correcting_texts(arm) if is_trained else ()))

    def _has_several_pairs(self, arm: ArmConfig) -> bool:
        """True where a question may have several examples in one training."""
        loop = self.config.selfplay
        trains_corrector = loop.corrector is Corrector.trained and corrects(arm)
        return loop.pairs_per_question != 1 or loop.replay is not Replay.none or trains_corrector

    @property
    def _teaches_corrections(self) -> bool:
        return self.config.sft.correction is not None or self.config.sft.synthetic_corrections > 0

    def _taught_corrections(self) -> tuple[str, ...]:
        """The prompts of corrections that stage 1 teaches."""
        if not self._teaches_corrections:
            return ()
        form = self.config.sft.correction_form
        whole, step = form is not CorrectionForm.step, form is not CorrectionForm.whole
        return (*(["correction"] if whole else []), *(["step_correction"] if step else []))

    def nll_weight(self, arm: ArmConfig) -> float:
        """Weight of the NLL of chosen: that beside the contrast, or 1 where it is the whole objective."""
        return self.config.dpo.nll_weight if arm.objective is Objective.dpo else 1.0

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


def _taught(config: Config) -> TemplateConfig:
    """The template for the teacher. One that is asked writes all that `teach_level` says, whatever of it is taught, so
    that every level of an ablation has the same thoughts and they are paid for once."""
    if config.teacher.kind is TeacherKind.engine:
        return dataclasses.replace(config.template, level=config.template.teach_level)
    return config.template
