"""Contradictions between arms, the loop, the loss and what arms are compared by."""

from __future__ import annotations

from collections.abc import Iterator

from medcritical.config.choices import (
    Allocation,
    Chosen,
    ClusterKind,
    CorrectionForm,
    Corrector,
    DataFormat,
    Loss,
    Match,
    Method,
    Objective,
    Retry,
    RightBy,
    StudentKind,
    TemplateLevel,
)
from medcritical.config.schema import ArmConfig, Config
from medcritical.config.stages import CORRECTING

_FIDELITIES = ("official", "paper", "corrected")
_TAKEN_ROWS = ("base", "sft")
_SMOOTHED = (Loss.conservative, Loss.robust)


def arm_faults(config: Config) -> Iterator[str]:
    """Faults of arms, baselines, loop and loss."""
    for name, arm in config.arms.items():
        if name in _TAKEN_ROWS:
            yield f"arms.{name} has the name of a row that every table has already: choose another name."
        yield from _method_faults(name, arm)
        yield from _retry_faults(config, name, arm)
        yield from _match_faults(config, name, arm)
    yield from _clock_faults(config)
    yield from _row_faults(config)
    yield from _loss_faults(config)
    yield from _loop_faults(config)


def _method_faults(name: str, arm: ArmConfig) -> Iterator[str]:
    if arm.method is Method.selfplay:
        return
    if arm.objective is Objective.dpo:
        yield (
            f"arms.{name}.objective=dpo needs pairs, which arms.{name}.method={arm.method.value} does not make: set "
            "objective to nll, or method to selfplay."
        )
    if arm.retry or arm.chosen is not Chosen.student:
        yield (
            f"arms.{name}.retry and arms.{name}.chosen are for self-play, and arms.{name}.method={arm.method.value} plays "
            "none: set retry to [] and chosen to student."
        )
    if arm.method is Method.majority_vote and arm.match is not None:
        yield f"arms.{name}.match={arm.match.value} is for arms that train, not for method=majority_vote: set it to null."


def _retry_faults(config: Config, name: str, arm: ArmConfig) -> Iterator[str]:
    loop, template = config.selfplay, config.template
    if arm.retry and arm.chosen is not Chosen.student:
        yield (
            f"arms.{name}.retry={[item.value for item in arm.retry]} would spend tokens on retries that nobody prefers: set "
            f"it to [] for arms.{name}.chosen={arm.chosen.value}."
        )
    is_mixed = len(set(arm.retry)) > 1 or Retry.eliminate in arm.retry
    if is_mixed and loop.allocation is Allocation.uniform:
        yield (
            f"arms.{name}.retry={[item.value for item in arm.retry]} goes by rounds, which "
            "selfplay.allocation=uniform does not have: choose selfplay.allocation=adaptive."
        )
    if Retry.step in arm.retry:
        if not template.step_correction or template.level not in (TemplateLevel.detailed, TemplateLevel.both):
            yield (
                f"arms.{name}.retry holds step, which needs template.step_correction and a template.level with a detailed "
                f"chain, not template={template.name} at level {template.level.value}: choose another template or retry."
            )
        if config.student.kind is StudentKind.scratch and config.sft.correction_form is CorrectionForm.whole:
            yield (
                f"arms.{name}.retry holds step, and a student from scratch corrects as it was taught: set "
                "sft.correction_form=both."
            )


def _match_faults(config: Config, name: str, arm: ArmConfig) -> Iterator[str]:
    match, against = arm.match or config.compare.at, arm.against or config.compare.arm
    if match is Match.steps or arm.method is Method.majority_vote or (against == name and not arm.against):
        return
    key = f"arms.{name}.match={match.value}" if arm.match else f"compare.at={match.value}"
    named = f"arms.{name}.against={against}" if arm.against else f"compare.arm={against}"
    other = config.arms.get(against)
    if other is None or other is arm:
        yield (
            f"{key} needs {named} to name another arm of this run: add that arm, e.g. arm=[{against or 'dpo_self'},{name}]."
        )
    elif _is_matched(config, against, other):
        yield f"{named} is itself matched to {other.against or config.compare.arm}: name an arm with match=steps."
    elif other.method is not Method.selfplay:
        yield f"{named} plays no self-play: name an arm with method=selfplay."
    elif match is Match.student_tokens and config.selfplay.allocation is Allocation.uniform:
        yield f"{key} needs a budget to spend, which uniform play has not: set selfplay.allocation=adaptive."
    elif match is Match.student_tokens and not other.retry:
        yield f"{named} never retries, so that its play ends before the others': name an arm that does, see arms.{against}.retry."
    elif match is Match.student_tokens and arm.method is not Method.selfplay:
        yield f"{key} is about play, and arms.{name}.method={arm.method.value} plays none: set arms.{name}.match=tokens."
    if config.selfplay.gate is not None:
        yield (
            f"selfplay.gate may stop the arm that {key} measures arms.{name} by: leave that arm out, match it by steps, or set "
            "selfplay.gate=null."
        )


def _is_matched(config: Config, name: str, arm: ArmConfig) -> bool:
    """True when another arm says for how long this one trains or plays."""
    return name != (arm.against or config.compare.arm) and (arm.match or config.compare.at) is not Match.steps


def timed_arms(config: Config) -> list[str]:
    """Names of the arms that train for as many seconds as another one: a clock decides their results."""
    trained = {name: arm for name, arm in config.arms.items() if arm.method is not Method.majority_vote}
    return [
        name
        for name, arm in trained.items()
        if (arm.match or config.compare.at) is Match.seconds and _is_matched(config, name, arm)
    ]


def _clock_faults(config: Config) -> Iterator[str]:
    """Trainings that are timed while other stages may run. Asked of the configuration, so that every machine says the same."""
    cluster, timed = config.cluster, timed_arms(config)
    counts_cores = cluster.workers is None and config.trainer.threads is not None and not cluster.isolate
    is_shared = counts_cores or (cluster.workers or 1) > 1
    if timed and is_shared and cluster.kind is ClusterKind.local:
        workers = "null" if cluster.workers is None else cluster.workers
        yield (
            f"arms.{timed[0]} is matched by seconds, and cluster.workers={workers} may run other stages on the same machine "
            "while they are counted: set cluster.workers=1."
        )


def _row_faults(config: Config) -> Iterator[str]:
    """What the table's rows are asked for and are not there."""
    evaluation, report, experiment = config.evaluation, config.report, config.experiment
    rows = [
        *(["base"] if evaluation.base else []),
        *(["sft"] if evaluation.sft else []),
        *config.arms,
        *config.baselines,
    ]
    if not rows:
        yield "nothing is scored: set evaluation.base or evaluation.sft, or choose an arm or a baseline."
    elif report.baseline not in rows:
        yield f"report.baseline={report.baseline} is no arm of this run: choose one of {', '.join(rows)}."
    for name in config.baselines:
        if name in (*_TAKEN_ROWS, *config.arms):
            yield f"baselines.{name} has the name of another row: choose another name."
    if experiment.row and experiment.row not in rows:
        yield f"experiment.row={experiment.row} is no row of this run: choose one of {', '.join(rows)}, or leave it empty."
    if experiment.fidelity not in _FIDELITIES:
        yield f"experiment.fidelity={experiment.fidelity} is unknown: choose one of {', '.join(_FIDELITIES)}."


def _loss_faults(config: Config) -> Iterator[str]:
    dpo = config.dpo
    if (dpo.label_smoothing > 0) != (dpo.loss in _SMOOTHED):
        yield (
            f"dpo.label_smoothing={dpo.label_smoothing:g} does not go with dpo.loss={dpo.loss.value}: it is what "
            "conservative and robust are made of, and no other loss reads it; set it above 0 for these and to 0 for others."
        )
    if (dpo.positive_weight is not None) != (dpo.loss is Loss.dpo_positive):
        yield (
            f"dpo.positive_weight must be set for dpo.loss=dpo_positive, e.g. 50 (its paper's), and null otherwise; the loss "
            f"is {dpo.loss.value} here."
        )


def _loop_faults(config: Config) -> Iterator[str]:
    loop = config.selfplay
    if any(beta <= 0 for beta in loop.betas):
        yield f"selfplay.betas={loop.betas} must all be greater than 0."
    highest = 1.0 if config.student.kind is StudentKind.scratch else 2e-3
    if any(not 0 < rate <= highest for rate in loop.learning_rates):
        yield f"selfplay.learning_rates={loop.learning_rates} must all be greater than 0 and at most {highest:g}."
    for key, values in (("betas", loop.betas), ("learning_rates", loop.learning_rates)):
        if len(values) > loop.iterations:
            yield f"selfplay.{key} has {len(values)} values for selfplay.iterations={loop.iterations}: leave some out."
    if loop.right_by is RightBy.soundness and config.data.format is not DataFormat.clinic:
        yield (
            f"selfplay.right_by=soundness needs questions whose reasoning can be checked, and only the clinic's can, not "
            f"data={config.data.name}: choose selfplay.right_by=answer."
        )
    if loop.corrector is Corrector.trained and not any(
        set(arm.retry) & set(CORRECTING) for arm in config.arms.values()
    ):
        yield "selfplay.corrector=trained, and no arm of this run corrects: choose an arm with retry=[correction]."
    has_contrast = any(arm.objective is Objective.dpo for arm in config.arms.values())
    if loop.corrector is Corrector.trained and has_contrast and config.dpo.nll_weight == 0:
        yield (
            "selfplay.corrector=trained has corrections learned by the NLL term, which dpo.nll_weight=0 leaves out: raise "
            "dpo.nll_weight, or choose selfplay.corrector=current."
        )
