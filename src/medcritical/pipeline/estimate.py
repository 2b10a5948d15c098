"""What stage calls may cost, before anything runs: tokens as upper bounds, times as rough guesses."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from medcritical.config.choices import Allocation, TeacherKind
from medcritical.config.schema import Config, PricesConfig
from medcritical.config.stages import (
    CORRECTING,
    AnswerStage,
    DpoStage,
    PlayStage,
    PrepareStage,
    ReportStage,
    ScoreStage,
    TeachStage,
)
from medcritical.pipeline.comparison import equal_in, title_of
from medcritical.pipeline.plan import Plan, StageCall
from medcritical.reporting.ledger import priced
from medcritical.selfplay.formula import step_formula
from medcritical.store import Costs

if TYPE_CHECKING:
    from medcritical.pipeline.pace import Pace


@dataclass(frozen=True)
class Estimate:
    """The most that calls may write, in tokens, and rough seconds.

    `unknown` counts the calls with no guess at a time, `uncounted` those whose number of questions is in files alone.
    """

    costs: Costs
    unknown: int = 0
    uncounted: int = 0

    @classmethod
    def sum(cls, estimates: Iterable[Estimate]) -> Estimate:
        """All of them together; nothing costs nothing."""
        estimates = list(estimates)
        return cls(
            Costs.sum(each.costs for each in estimates),
            sum(each.unknown for each in estimates),
            sum(each.uncounted for each in estimates),
        )

    def __str__(self) -> str:
        costs = self.costs
        judge = f", and {costs.judge_tokens:,} judge tokens" if costs.judge_tokens else ""
        files = f", not counting {self.uncounted} stages that ask all questions of a file" if self.uncounted else ""
        return (
            f"at most {costs.teacher_tokens:,} teacher tokens and {costs.student_tokens:,} student tokens to "
            f"generate{judge}{files}; {self.time()}"
        )

    def time(self) -> str:
        """The rough time in words, and for how many calls there is none."""
        known = f"about {readable_seconds(self.costs.seconds)}"
        if not self.unknown:
            return known
        untold = f"no guess at the time of {self.unknown} stages, for nothing like them has run in this store"
        return f"{known} and {untold}" if self.costs.seconds else untold


def readable_seconds(seconds: float) -> str:
    """Seconds in the largest unit that leaves a number to read: 40 s, 12 min, 3.5 h."""
    if seconds < 99:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99 * 60 else f"{seconds / 3600:.1f} h"


def describe_plan(plan: Plan, missing: AbstractSet[str], pace: Pace) -> str:
    """One line per stage (done or to run, artefact, estimated tokens, their price where there are prices) and a total.

    Tokens are upper bounds of what is written; what is read is not estimated, and not in the price.
    """
    prices = prices_of(plan)
    lines, estimates = [], []
    for call in plan.calls:
        to_run = call.ref.key in missing
        if to_run:
            estimates.append(estimate(call, plan, pace))
        shown = _shown(estimates[-1].costs, prices) if to_run else ""
        lines.append(f"{'run ' if to_run else 'done'}  {call.ref!s:<28} {call.label:<36}{shown}")
    total = Estimate.sum(estimates)
    lines.append(f"{len(plan.calls)} stages: {len(plan.calls) - len(missing)} done, {len(missing)} to run; {total}.")
    if prices is not None:
        lines.append(describe_price(total.costs, prices))
    return "\n".join(lines)


def describe_experiment(config: Config) -> str:
    """What is run, how faithful it is, what was published of it, and what its arms share: a line each."""
    experiment = config.experiment
    published = "" if experiment.published is None else f", published {experiment.published:g} % ({experiment.source})"
    lines = [f"{experiment.command} (fidelity: {experiment.fidelity}{published})"]
    lines += [f"  {name}: {title_of(config, name)}" for name in config.arms]
    for name, baseline in config.baselines.items():
        known = "no published value" if baseline.published is None else f"published {baseline.published:g} %"
        lines.append(f"  {name}: {baseline.title}, evaluation only, {known}")
    equal = dict.fromkeys(filter(None, (equal_in(config, name) for name in config.arms)))
    if equal:
        lines.append(f"equal between arms: {'; '.join(equal)} (compare.at={config.compare.at.value})")
    return "\n".join(lines)


def describe_losses(plan: Plan) -> str:
    """The loss of every preference training, each once; empty where there is none."""
    stages = [call.config for call in plan.calls if isinstance(call.config, DpoStage)]
    formulas = dict.fromkeys(
        step_formula(stage.loss, stage.beta, stage.nll_weight, stage.pair_weight) for stage in stages
    )
    return "\n".join(f"loss of a step: {formula}" for formula in formulas)


def describe_price(costs: Costs, prices: PricesConfig) -> str:
    """What tokens cost at most, in all and for each model, as a sentence."""
    money = priced(costs, prices)
    payees = {"teacher": money.teacher, "student": money.student, "judge": money.judge}
    shown = ", ".join(f"{who} {price:,.4f}" for who, price in payees.items() if who != "judge" or costs.judge_tokens)
    return (
        f"At most {sum(payees.values()):,.4f} {money.currency} for that ({shown}); what the models read comes on top."
    )


def estimate(call: StageCall, plan: Plan, pace: Pace) -> Estimate:
    """What one call may cost."""
    seconds = pace.seconds(call, plan)
    costs = msgspec.structs.replace(estimated_costs(call, plan), seconds=seconds or 0.0)
    return Estimate(costs, unknown=int(seconds is None), uncounted=int(is_uncounted(call, plan)))


def estimated_costs(call: StageCall, plan: Plan) -> Costs:
    """Upper bounds of the tokens that a call has written, by who writes them."""
    tokens, is_taught = estimated_tokens(call, plan), isinstance(call.config, TeachStage)
    return Costs(
        teacher_tokens=tokens if is_taught else 0,
        student_tokens=0 if is_taught else tokens,
        judge_tokens=estimated_judge_tokens(call, plan),
    )


def prices_of(plan: Plan) -> PricesConfig | None:
    """What tokens cost in this plan's report; None where it names no prices."""
    assert isinstance(plan.report.config, ReportStage)
    return plan.report.config.report.prices


def _shown(costs: Costs, prices: PricesConfig | None) -> str:
    """A stage's tokens and what they cost; empty where it writes none."""
    written = {"": costs.teacher_tokens + costs.student_tokens, " of the judge": costs.judge_tokens}
    tokens = " + ".join(f"{count:,} tokens{whose}" for whose, count in written.items() if count)
    if not tokens or prices is None:
        return f"  <= {tokens}" if tokens else ""
    money = priced(costs, prices)
    return f"  <= {tokens}, {money.teacher + money.student + money.judge:,.4f} {money.currency}"


def estimated_tokens(call: StageCall, plan: Plan) -> int:
    """Upper bound of the tokens that a call generates. A recorded teacher's tokens were paid for before: 0."""
    config = call.config
    if "target" in call.inputs and isinstance(config, PlayStage):
        return estimated_tokens(plan_call(plan, call.inputs["target"].key), plan)
    if isinstance(config, PlayStage):
        questions = config.questions.count or _train_size(plan)
        if config.allocation is Allocation.adaptive:
            return questions * max(config.budget, config.attempts * config.generation.max_new_tokens)
        corrections = config.corrections if set(config.retry) & set(CORRECTING) else 0
        per_attempt = config.generation.max_new_tokens + corrections * config.generation.correction_max_new_tokens
        return questions * config.attempts * per_attempt
    if isinstance(config, AnswerStage):
        return _num_answers(config, plan) * config.max_new_tokens
    if isinstance(config, TeachStage) and config.teacher.kind is not TeacherKind.recorded:
        source = plan_call(plan, call.inputs["attempts"].key) if config.questions is None else None
        if source is not None and isinstance(source.config, PlayStage):
            words = _answer_tokens(config) or _correction_tokens(plan)
            return (source.config.questions.count or _train_size(plan)) * config.max_wrong * words
        questions = (config.questions.count if config.questions else None) or _train_size(plan)
        each = _answer_tokens(config) or _thought_tokens(plan)
        return round(questions * (1 + config.synthetic_corrections) * each)
    return 0


def estimated_judge_tokens(call: StageCall, plan: Plan) -> int:
    """Upper bound of the tokens that a judge writes about what a call generates; 0 where none decides."""
    config = call.config
    if not isinstance(config, PlayStage | ScoreStage) or config.verifier.judge is None:
        return 0
    if isinstance(config, ScoreStage):
        answers = plan_call(plan, call.inputs["answers"].key).config
        decisions = _num_answers(answers, plan) if isinstance(answers, AnswerStage) else 0
    else:
        more = config.max_rounds if config.allocation is Allocation.adaptive else config.attempts * config.corrections
        decisions = (config.questions.count or _train_size(plan)) * (config.attempts + more)
    return decisions * config.verifier.judge.max_new_tokens


def _num_answers(config: AnswerStage, plan: Plan) -> int:
    """Answers to all questions: so many samples, or one for each order of the options but the own."""
    each = config.samples * max(config.orders - 1, 1)
    return (config.questions or _split_size(plan, config.split)) * each


def is_uncounted(call: StageCall, plan: Plan) -> bool:
    """True for a call that asks all questions of a split whose size no key gives, a judge about the answers included."""
    config = call.config
    if isinstance(config, AnswerStage):
        return config.questions is None and not _split_size(plan, config.split)
    if isinstance(config, ScoreStage) and config.verifier.judge is not None:
        return is_uncounted(plan_call(plan, call.inputs["answers"].key), plan)
    if isinstance(config, PlayStage):
        return config.questions.count is None and not _train_size(plan)
    if isinstance(config, TeachStage) and config.teacher.kind is not TeacherKind.recorded:
        asks_all = config.questions is not None and config.questions.count is None
        return asks_all and not _train_size(plan)
    return False


def _answer_tokens(config: TeachStage) -> int:
    """Most tokens that an asked teacher writes on one question, all attempts together; 0 for another teacher."""
    sampling = config.teacher.sampling
    return sampling.max_new_tokens * config.teacher.attempts if sampling is not None else 0


def plan_call(plan: Plan, key: str) -> StageCall:
    """The call that makes the artefact with this key."""
    return next(call for call in plan.calls if call.ref.key == key)


def _thought_tokens(plan: Plan) -> int:
    return max((c.config.max_new_tokens for c in plan.calls if isinstance(c.config, AnswerStage)), default=0)


def _correction_tokens(plan: Plan) -> int:
    """Longest correction that is asked of the student; where none is, its longest answer."""
    limits = [c.config.generation for c in plan.calls if isinstance(c.config, PlayStage)]
    return max((limit.correction_max_new_tokens or limit.max_new_tokens for limit in limits), default=0)


def _train_size(plan: Plan) -> int:
    return _split_size(plan, "train")


def _split_size(plan: Plan, split: str) -> int:
    """Questions of a split where the configuration says; 0 where only the files know."""
    prepare = next(call.config for call in plan.calls if isinstance(call.config, PrepareStage))
    return getattr(prepare.data.sizes, split) or 0
