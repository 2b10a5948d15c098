"""What a plan will do and what it may cost, before anything runs."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from medcritical.config.choices import Allocation, TeacherKind
from medcritical.config.schema import Config
from medcritical.config.stages import CORRECTING, DpoStage, EvaluateStage, PlayStage, PrepareStage, TeachStage
from medcritical.pipeline.plan import Plan, StageCall
from medcritical.pipeline.slices import SHARED, title_of
from medcritical.selfplay.formula import step_formula


def describe_plan(plan: Plan, missing: AbstractSet[str]) -> str:
    """One line per stage (done or to run, artefact, estimated tokens) and a total. Estimates are upper bounds."""
    lines, teacher, student, judge = [], 0, 0, 0
    for call in plan.calls:
        to_run = call.ref.key in missing
        tokens = estimated_tokens(call, plan)
        if to_run and isinstance(call.config, TeachStage):
            teacher += tokens
        elif to_run:
            student += tokens
            judge += estimated_judge_tokens(call, plan)
        cost = f"  <= {tokens:,} tokens" if tokens and to_run else ""
        lines.append(f"{'run ' if to_run else 'done'}  {call.ref!s:<28} {call.label:<36}{cost}")
    lines.append(
        f"{len(plan.calls)} stages: {len(plan.calls) - len(missing)} done, {len(missing)} to run; "
        f"at most {teacher:,} teacher tokens and {student:,} student tokens to generate"
        + (f", and {judge:,} judge tokens." if judge else ".")
    )
    return "\n".join(lines)


def describe_experiment(config: Config) -> str:
    """What is run, how faithful it is, what was published of it, and what its arms share: a line each."""
    experiment = config.experiment
    published = "" if experiment.published is None else f", published {experiment.published:g} % ({experiment.source})"
    lines = [f"{experiment.command}: {experiment.fidelity}{published}"]
    lines += [f"  {name}: {title_of(config, name)}" for name in config.arms]
    for name, baseline in config.baselines.items():
        known = "no published value" if baseline.published is None else f"published {baseline.published:g} %"
        lines.append(f"  {name}: {baseline.title}, evaluation only, {known}")
    return "\n".join(
        [*lines, f"arms are compared at equal {SHARED[config.compare.at]} (compare.at={config.compare.at.value})"]
    )


def describe_losses(plan: Plan) -> str:
    """The loss of every preference training, each once; empty where there is none."""
    stages = [call.config for call in plan.calls if isinstance(call.config, DpoStage)]
    formulas = dict.fromkeys(step_formula(stage.loss, stage.beta, stage.nll_weight) for stage in stages)
    return "\n".join(f"loss of a step: {formula}" for formula in formulas)


def estimated_tokens(call: StageCall, plan: Plan) -> int:
    """Upper bound of the tokens that a call generates. A recorded teacher's tokens were paid for before: 0."""
    config = call.config
    if isinstance(config, PlayStage):
        questions = config.questions.count or _train_size(plan)
        if config.allocation is Allocation.adaptive:
            return questions * max(config.budget, config.attempts * config.generation.max_new_tokens)
        corrections = config.corrections if set(config.retry) & set(CORRECTING) else 0
        per_attempt = config.generation.max_new_tokens + corrections * config.generation.correction_max_new_tokens
        return questions * config.attempts * per_attempt
    if isinstance(config, EvaluateStage):
        return (config.questions or _split_size(plan, config.split)) * config.votes * config.max_new_tokens
    if isinstance(config, TeachStage) and config.teacher.kind is not TeacherKind.recorded:
        source = plan_call(plan, call.inputs["attempts"].key) if config.questions is None else None
        if source is not None and isinstance(source.config, PlayStage):
            words = _answer_tokens(config) or source.config.generation.correction_max_new_tokens
            return (source.config.questions.count or _train_size(plan)) * config.max_wrong * words
        questions = (config.questions.count if config.questions else None) or _train_size(plan)
        each = _answer_tokens(config) or _thought_tokens(plan)
        return round(questions * (1 + config.synthetic_corrections) * each)
    return 0


def estimated_judge_tokens(call: StageCall, plan: Plan) -> int:
    """Upper bound of the tokens that a judge writes about what a call generates; 0 where none decides."""
    config = call.config
    if not isinstance(config, PlayStage | EvaluateStage) or config.verifier.judge is None:
        return 0
    if isinstance(config, EvaluateStage):
        decisions = (config.questions or _split_size(plan, config.split)) * config.votes
    else:
        more = config.max_rounds if config.allocation is Allocation.adaptive else config.attempts * config.corrections
        decisions = (config.questions.count or _train_size(plan)) * (config.attempts + more)
    return decisions * config.verifier.judge.max_new_tokens


def _answer_tokens(config: TeachStage) -> int:
    """Most tokens that an asked teacher writes on one question, all attempts together; 0 for another teacher."""
    sampling = config.teacher.sampling
    return sampling.max_new_tokens * config.teacher.attempts if sampling is not None else 0


def plan_call(plan: Plan, key: str) -> StageCall:
    """The call that makes the artefact with this key."""
    return next(call for call in plan.calls if call.ref.key == key)


def _thought_tokens(plan: Plan) -> int:
    return max((c.config.max_new_tokens for c in plan.calls if isinstance(c.config, EvaluateStage)), default=0)


def _train_size(plan: Plan) -> int:
    return _split_size(plan, "train")


def _split_size(plan: Plan, split: str) -> int:
    """Questions of a split where the configuration says; 0 where only the files know."""
    prepare = next(call.config for call in plan.calls if isinstance(call.config, PrepareStage))
    return getattr(prepare.data.sizes, split) or 0
