"""The plan: a pure function from configuration to stage calls. Nothing is read, written or run here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medcritical.config.choices import (
    Chosen,
    Corrector,
    Match,
    Method,
    Objective,
    Reference,
    Replay,
    Start,
    TeacherKind,
)
from medcritical.config.load import to_identity
from medcritical.config.schema import ArmConfig, Config, TemplateConfig
from medcritical.config.stages import (
    AnswerStage,
    GateStage,
    PrepareStage,
    QuestionRange,
    ReportRow,
    ReportStage,
    StageConfig,
)
from medcritical.pipeline import scoring_slices
from medcritical.pipeline.comparison import equal_in, match_of, title_of, trained_match
from medcritical.pipeline.published import published_values
from medcritical.pipeline.slices import Slices, corrects, optim_of
from medcritical.pipeline.unread import data_as_read
from medcritical.store.artefact import ArtefactRef, artefact_key

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
class _Loop:
    """Where one arm's loop stands: what it goes on from, and what others made that it may need.

    Attributes:
        trained: by arm and iteration, the references `play`, `reference` (if any) and `dpo` of what it did.
        pairs: of the iteration before.
    """

    questions: ArtefactRef
    templates: ArtefactRef
    corrections: ArtefactRef | None
    sft: ArtefactRef
    trained: dict[tuple[str, int], Inputs]
    policy: ArtefactRef
    pairs: ArtefactRef | None = None


@dataclass
class _Planner:
    config: Config
    sources: Mapping[str, str]
    calls: dict[str, StageCall] = field(default_factory=dict)
    rows: list[tuple[ReportRow, ArtefactRef, ArtefactRef]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slices = Slices(self.config)

    def plan(self) -> Plan:
        config, slices = self.config, self.slices
        questions = self.add(PrepareStage(data=data_as_read(config.data)), {}, "questions")
        for name in config.baselines:
            baseline = config.baselines[name]
            model = self.add(slices.student(baseline.student, baseline.template, 0), {}, f"baseline {name}")
            row = self._row(name, baseline.title, "base")
            self.evaluate(questions, model, row, scoring_slices.baseline_answers(config, baseline), baseline.template)
        if config.evaluation.base:  # once for every set of questions: the seed of training is nothing to it
            untrained = self.add(slices.student(config.student, config.template, config.data.seed), {}, "base student")
            row = self._row("base", "Student before training", "base")
            self.evaluate(questions, untrained, row, scoring_slices.answers(config, config.data.seed))
        if config.evaluation.sft or config.arms:
            base = self.add(slices.student(config.student, config.template, config.seed), {}, "student to train")
            self._arms(self._stage_one(questions, base))
        self._report()
        return Plan(tuple(self.calls.values()))

    def add(self, stage: StageConfig, inputs: Inputs, label: str) -> ArtefactRef:
        """Plan one call, unless an equal one is there already; the name of its artefact either way."""
        identity = _by_content(to_identity(stage), self.sources)
        ref = ArtefactRef(stage=stage.stage, key=artefact_key(stage.stage, stage.version, identity, inputs))
        self.calls.setdefault(ref.key, StageCall(ref, stage, identity, inputs, label))
        return ref

    def evaluate(
        self,
        questions: ArtefactRef,
        checkpoint: ArtefactRef,
        row: ReportRow,
        answers: AnswerStage | None = None,
        template: TemplateConfig | None = None,
    ) -> None:
        """Have a checkpoint answer, score it and give it a row in the report."""
        label = row.arm if row.iteration == 0 else f"{row.arm} iteration {row.iteration}"
        asked, answers = (
            {"questions": questions, "checkpoint": checkpoint},
            answers or scoring_slices.answers(self.config, row.seed),
        )
        inputs = {"questions": questions, "answers": self.add(answers, asked, label)}
        if self.config.evaluation.permutations > 1 and answers.samples == 1:
            other_orders = scoring_slices.in_other_orders(self.config, answers)
            inputs["permuted"] = self.add(other_orders, asked, f"{label}, other orders")
        score = self.add(scoring_slices.score(self.config, template or self.config.template), inputs, label)
        self.rows.append((row, score, checkpoint))

    def _row(
        self, arm: str, title: str, stage: str, iteration: int = 0, beta: float | None = None, equal: str = ""
    ) -> ReportRow:
        config = self.config
        return ReportRow(arm, title, stage, iteration, beta, config.seed, equal, config.data.seed, config.teacher.seed)

    def _stage_one(self, questions: ArtefactRef, base: ArtefactRef) -> _Loop:
        """Templates, the second pass's corrections if there is one, and the stage-1 checkpoint: where every loop begins."""
        slices, optim = self.slices, self.config.sft
        is_recorded = self.config.teacher.kind is TeacherKind.recorded
        teach = dataclasses.replace(
            slices.teach(QuestionRange(0, optim.templates, 0), "teach"),
            synthetic_corrections=optim.synthetic_corrections,
        )
        templates = self.add(teach, {"questions": questions}, "thought templates")
        inputs = {"checkpoint": base, "templates": templates}
        sft = self.add(slices.sft(optim_of(optim), "sft"), inputs, "stage 1")
        corrections, second = None, optim.correction
        if second is not None:
            start = 0 if is_recorded else optim.templates or 0
            play = slices.own_errors(QuestionRange(start, second.questions, 0), second.attempts, "sft", 0)
            source = templates if is_recorded else questions
            attempts = self.add(play, {"questions": source, "policy": sft}, "own errors for stage 1")
            correct = dataclasses.replace(slices.teach(None, "correct"), max_wrong=second.max_wrong)
            inputs = {"attempts": attempts, "templates": templates}
            corrections = self.add(correct, inputs, "corrections of own errors")
            again = dataclasses.replace(
                optim_of(optim), learning_rate=second.learning_rate, epochs=second.epochs, steps=None
            )
            inputs = {"checkpoint": sft, "templates": templates, "corrections": corrections}
            sft = self.add(slices.sft(again, "sft-corrections"), inputs, "stage 1, second pass")
        return _Loop(questions, templates, corrections, sft, {}, policy=sft)

    def _arms(self, start: _Loop) -> None:
        """Every arm, from the stage-1 model on."""
        config = self.config
        if config.evaluation.sft:
            row = self._row("sft", "SFT on thought templates", "sft")
            self.evaluate(start.questions, start.sft, row)
        for name in _comparison_order(config):
            arm = config.arms[name]
            if arm.method is Method.majority_vote:
                row = self._row(name, arm.title, "sft")
                self.evaluate(start.questions, start.sft, row, scoring_slices.votes(self.config))
                continue
            loop = dataclasses.replace(start)  # its own place to stand, the same record of what was trained
            for iteration in range(1, config.selfplay.iterations + 1):
                if arm.method is Method.continued_sft:
                    loop.policy = self._continued_sft(name, arm, iteration, loop)
                else:
                    self._iteration(name, arm, iteration, loop)
                # What is as long as a preference training depends on its beta, too.
                has_beta = arm.objective is Objective.dpo or match_of(config, name) is not Match.steps
                beta = self.slices.beta(iteration) if has_beta else None
                row = self._row(
                    name, title_of(config, name), loop.policy.stage, iteration, beta, equal_in(config, name)
                )
                self.evaluate(loop.questions, loop.policy, row)

    def _continued_sft(self, name: str, arm: ArmConfig, iteration: int, loop: _Loop) -> ArtefactRef:
        stage = dataclasses.replace(
            self.slices.sft(self.slices.dpo_optim(iteration), "continued", iteration),
            match=trained_match(self.config, name),
        )
        inputs = {"checkpoint": loop.policy, "templates": loop.templates}
        if loop.corrections is not None:
            inputs["corrections"] = loop.corrections
        inputs |= self._target(name, arm, iteration, loop)
        return self.add(stage, inputs, f"{name} iteration {iteration}")

    def _iteration(self, name: str, arm: ArmConfig, iteration: int, loop: _Loop) -> None:
        """Play, pair, score by the reference, train, and let the policy through the gate where there is one."""
        config, label = self.config, f"{name} iteration {iteration}"
        made: Inputs = {"play": self._play(name, arm, iteration, label, loop)}
        loop.pairs = pairs = self._pairs(arm, iteration, label, made["play"], loop)
        start = loop.policy if config.selfplay.init is Start.previous else loop.sft
        reference = loop.policy if config.selfplay.reference is Reference.previous else loop.sft
        inputs = {"pairs": pairs, "checkpoint": start}
        if arm.objective is Objective.dpo:
            scored_by = {"pairs": pairs, "checkpoint": reference}
            made["reference"] = self.add(self.slices.reference(arm), scored_by, label)
            inputs = {"scored": made["reference"], "checkpoint": start}
        inputs |= self._target(name, arm, iteration, loop)
        dpo = self.slices.dpo(name, arm, iteration, at_reference=start == reference)
        made["dpo"] = self.add(dpo, inputs, label)
        loop.trained[name, iteration] = made
        loop.policy = self._gated(made["dpo"], label, loop) if config.selfplay.gate else made["dpo"]

    def _play(self, name: str, arm: ArmConfig, iteration: int, label: str, loop: _Loop) -> ArtefactRef:
        """Attempts and retries, for as many student tokens as in the play that it is to equal, where there is one.

        Arms that differ in their training alone have one play.
        """
        config, slices = self.config, self.slices
        stage, inputs = slices.play(arm, iteration), {"questions": loop.questions, "policy": loop.policy}
        if corrects(arm):
            inputs["corrector"] = loop.sft if config.selfplay.corrector is Corrector.sft else loop.policy
        if match_of(config, name) is Match.student_tokens:
            target = loop.trained[arm.against or config.compare.arm, iteration]["play"]
            call = self.calls[target.key]
            if (call.config, call.inputs) != (stage, inputs):
                stage, inputs = slices.matched_play(arm, iteration), {**inputs, "target": target}
        return self.add(stage, inputs, label)

    def _pairs(self, arm: ArmConfig, iteration: int, label: str, played: ArtefactRef, loop: _Loop) -> ArtefactRef:
        """Pairs of a play; those of earlier iterations are among them where they are replayed."""
        config, slices = self.config, self.slices
        inputs = {"play": played}
        if arm.chosen is Chosen.teacher:
            correct = dataclasses.replace(slices.teach(None, "distil", iteration), max_wrong=1)
            inputs["taught"] = self.add(correct, {"attempts": played, "templates": loop.templates}, label)
        elif arm.chosen is Chosen.thought and config.teacher.kind is TeacherKind.recorded:
            inputs["taught"] = loop.templates  # nobody can be asked for more
        elif arm.chosen is Chosen.thought:
            think = slices.teach(slices.questions_of(iteration), "think", iteration)
            asked = {"questions": loop.questions}
            if config.selfplay.gate is not None and iteration > 1:  # a loop that has stopped asks nobody for more
                asked["play"] = played
            inputs["taught"] = self.add(think, asked, label)
        if config.selfplay.replay is not Replay.none and loop.pairs is not None:
            inputs["earlier"] = loop.pairs
        return self.add(slices.pair(arm, iteration), inputs, label)

    def _gated(self, candidate: ArtefactRef, label: str, loop: _Loop) -> ArtefactRef:
        """What the loop goes on from, decided by accuracy on dev questions."""
        gate = self.config.selfplay.gate
        assert gate is not None
        on_dev, score = scoring_slices.dev_answers(self.config, gate.questions), scoring_slices.dev_score(self.config)
        inputs = {"candidate": candidate, "best": loop.policy}
        scored = {"score": candidate} | ({"best_score": loop.sft} if loop.policy == loop.sft else {})
        for role, checkpoint in scored.items():
            place = f"{label if role == 'score' else 'sft'}, dev"
            answers = self.add(on_dev, {"questions": loop.questions, "checkpoint": checkpoint}, place)
            inputs[role] = self.add(score, {"questions": loop.questions, "answers": answers}, place)
        return self.add(GateStage(gate), inputs, label)

    def _target(self, name: str, arm: ArmConfig, iteration: int, loop: _Loop) -> Inputs:
        """The training that this one is to equal."""
        match = trained_match(self.config, name)
        if match is Match.steps:
            return {}
        target = loop.trained[arm.against or self.config.compare.arm, iteration]
        inputs = {"target": target["dpo"]}
        if match is Match.seconds and "reference" in target:
            inputs["target_reference"] = target["reference"]
        return inputs

    def _report(self) -> None:
        config, order = self.config, ["base", *self.config.baselines, "sft", *self.config.arms]
        rows = sorted(self.rows, key=lambda item: order.index(item[0].arm))
        stage = ReportStage(
            name=config.name,
            data=config.data.name,
            verifier="exact" if config.verifier.judge is None else config.verifier.judge.name,
            rows=[row for row, _, _ in rows],
            published=list(published_values(config)),
            report=config.report,
            confidence=config.evaluation.confidence,
        )
        inputs = {}
        for number, (_, score, checkpoint) in enumerate(rows):
            inputs[f"score-{number}"], inputs[f"checkpoint-{number}"] = score, checkpoint
        self.add(stage, inputs, "tables and figures")


def _comparison_order(config: Config) -> list[str]:
    """Arm names in the given order, arms that are matched to another one after it."""
    return sorted(config.arms, key=lambda name: match_of(config, name) is not Match.steps)


def _by_content(value: Any, sources: Mapping[str, str]) -> Any:
    """`value` with every path that `sources` knows replaced by the hash of its content."""
    if isinstance(value, dict):
        return {name: _by_content(item, sources) for name, item in value.items()}
    if isinstance(value, list):
        return [_by_content(item, sources) for item in value]
    return sources.get(value, value) if isinstance(value, str) else value
