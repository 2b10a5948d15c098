"""What a plan says before anything runs."""

import re
from pathlib import Path

from configurations import ASKED, REAL, configure
from medcritical.pipeline.estimate import (
    describe_plan,
    estimated_costs,
    estimated_judge_tokens,
    estimated_tokens,
    is_uncounted,
)
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.plan import Plan, make_plan
from medcritical.store import Store

NO_STORE = Store(Path("nowhere"))


def plan_of(*overrides: str) -> Plan:
    return make_plan(configure(*overrides), {})


def tokens(plan: Plan) -> dict[tuple[str, str], int]:
    return {(call.ref.stage, call.label): estimated_tokens(call, plan) for call in plan.calls}


def test_estimates_by_hand() -> None:
    found = tokens(plan_of("arm=dpo_self"))
    assert found["answer", "base"] == 1000 * 50
    assert found["play", "own errors for stage 1"] == 120 * 4 * 50
    assert found["play", "dpo_self iteration 1"] == 800 * max(113, 2 * 50)
    assert found["teach", "thought templates"] == 120 * 1.5 * 50
    assert found["teach", "corrections of own errors"] == 120 * 2 * 64
    assert all(found[stage, label] == 0 for stage, label in found if stage not in ("play", "teach", "answer"))


def test_uniform_allocation_pays_for_every_correction() -> None:
    found = tokens(plan_of("arm=dpo_self", "selfplay=uniform"))
    assert found["play", "dpo_self iteration 2"] == 800 * 4 * (50 + 4 * 64)


def test_recorded_traces_cost_nothing() -> None:
    found = tokens(plan_of(*REAL))
    assert {count for (stage, _), count in found.items() if stage == "teach"} == {0}


def test_each_order_of_the_options_is_asked() -> None:
    found = tokens(plan_of("arm=dpo_self", "evaluation.permutations=4"))
    assert (found["answer", "base"], found["answer", "base, other orders"]) == (1000 * 50, 3 * 1000 * 50)


def test_questions_that_no_key_counts_are_named() -> None:
    plan = plan_of(*REAL, "arm=dpo_self", "selfplay.iterations=1", "selfplay.questions=null")
    described = describe_plan(plan, {call.ref.key for call in plan.calls}, Pace(NO_STORE))
    assert "to generate, not counting 4 stages that ask all questions of a file; " in described
    sized = plan_of(*REAL, "arm=dpo_self", "data.sizes.test=100", "selfplay.questions=20")
    assert "not counting" not in describe_plan(sized, {call.ref.key for call in sized.calls}, Pace(NO_STORE))


def test_a_judge_of_answers_that_no_key_counts_is_not_counted_either() -> None:
    judged = ["verifier=judge", "verifier.judge.engine.model=some/judge"]
    for size, expected in (("null", True), ("100", False)):
        plan = plan_of(*REAL, "arm=[]", *judged, f"data.sizes.test={size}")
        scores = [call for call in plan.calls if call.ref.stage == "score"]
        assert scores
        assert {is_uncounted(call, plan) for call in scores} == {expected}
        assert all((estimated_judge_tokens(call, plan) == 0) == expected for call in scores)
    plan = plan_of(*REAL, "arm=[]", "data.sizes.test=null")
    assert not any(is_uncounted(call, plan) for call in plan.calls if call.ref.stage == "score"), "the rule asks nobody"


def test_an_asked_teacher_may_need_every_attempt() -> None:
    found = tokens(plan_of(*ASKED, "sft.templates=10"))
    assert found["teach", "thought templates"] == 10 * 3 * 8192


def test_a_judge_decides_once_for_every_reply() -> None:
    judged = ["verifier=judge", "verifier.judge.engine.model=some/judge", "verifier.judge.max_new_tokens=3"]
    plan = plan_of("arm=dpo_self", "selfplay.iterations=1", *judged)
    found = {(call.ref.stage, call.label): estimated_judge_tokens(call, plan) for call in plan.calls}
    assert found["score", "base"] == 1000 * 3
    assert found["play", "own errors for stage 1"] == 120 * 4 * 3
    assert found["play", "dpo_self iteration 1"] == 800 * (2 + 24) * 3
    assert {count for (stage, _), count in found.items() if stage not in ("play", "score")} == {0}
    described = describe_plan(plan, {call.ref.key for call in plan.calls}, Pace(NO_STORE))
    assert re.search(f", and {sum(found.values()):,} judge tokens; about [0-9]+ (s|min).$", described)
    assert "judge" not in describe_plan(plan_of("arm=dpo_self"), set(), Pace(NO_STORE))
    uniform = plan_of("arm=dpo_self", "selfplay=uniform", *judged)
    (play,) = (call for call in uniform.calls if call.label == "dpo_self iteration 1" and call.ref.stage == "play")
    assert estimated_judge_tokens(play, uniform) == 800 * (4 + 4 * 4) * 3


def test_what_is_done_is_not_counted_again() -> None:
    plan = plan_of("arm=dpo_self", "selfplay.iterations=1")
    keys = {call.ref.key for call in plan.calls}
    fresh, resumed, done = (
        describe_plan(plan, missing, Pace(NO_STORE)) for missing in (keys, {plan.report.ref.key}, set())
    )
    total = sum(count for (stage, _), count in tokens(plan).items() if stage != "teach")
    assert f"{len(keys)} stages: 0 done, {len(keys)} to run" in fresh
    assert f"{total:,} student tokens" in fresh
    assert f"{len(keys) - 1} done, 1 to run; at most 0 teacher tokens and 0 student tokens" in resumed
    assert [line.split()[0] for line in done.splitlines()[:-1]] == ["done"] * len(keys)
    assert len(fresh.splitlines()) == len(keys) + 1


def test_money_stands_beside_tokens_where_there_are_prices() -> None:
    prices = [
        "report=priced",
        "report.prices.teacher={prompt: 1, completion: 20}",
        "report.prices.student.completion=3",
    ]
    judged = ["verifier=judge", "verifier.judge.engine.model=m", "report.prices.judge.completion=10"]
    plan = plan_of("arm=dpo_self", "selfplay.iterations=1", *judged, *prices)
    described = describe_plan(plan, {call.ref.key for call in plan.calls}, Pace(NO_STORE))
    (taught,) = (line for line in described.splitlines() if "thought templates" in line)
    assert taught.endswith("<= 9,000 tokens, 0.1800 USD")  # 120 * 1.5 * 50 tokens at 20 a million
    lines = [line for line in described.splitlines() if line.split()[-6:-1] and " base " in line]
    (answered,), (scored,) = ([line for line in lines if stage in line] for stage in ("answer/", "score/"))
    assert answered.endswith("<= 50,000 tokens, 0.1500 USD")
    assert scored.endswith("<= 2,048,000 tokens of the judge, 20.4800 USD")
    found = [estimated_costs(call, plan) for call in plan.calls]
    teacher = sum(costs.teacher_tokens for costs in found) * 20 / 1e6
    student = sum(costs.student_tokens for costs in found) * 3 / 1e6
    judge = sum(costs.judge_tokens for costs in found) * 10 / 1e6
    assert described.splitlines()[-1] == (
        f"At most {teacher + student + judge:,.4f} USD for that (teacher {teacher:,.4f}, student {student:,.4f}, judge "
        f"{judge:,.4f}); what the models read comes on top."
    )
    assert describe_plan(plan, set(), Pace(NO_STORE)).splitlines()[-1].startswith("At most 0.0000 USD")
    assert "USD" not in describe_plan(plan_of("arm=dpo_self"), set(), Pace(NO_STORE))
