"""Rough times, by hand."""

from pathlib import Path

import pytest

from configurations import REAL, configure
from medcritical.pipeline.estimate import Estimate, readable_seconds
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.plan import Plan, StageCall, make_plan
from medcritical.store import Costs, Store


def plan_of(*overrides: str) -> Plan:
    return make_plan(configure("arm=dpo_self", "selfplay.iterations=1", *overrides), {})


def find(plan: Plan, stage: str) -> StageCall:
    return [call for call in plan.calls if call.ref.stage == stage][-1]


def finish(store: Store, call: StageCall, seconds: float) -> None:
    """Pretend that a call was made in so many seconds."""
    with store.lock(call.ref), store.build(call.ref):
        costs = Costs(seconds=seconds)
        store.complete(call.ref, version=1, config=call.identity, inputs=call.inputs, facts={}, costs=costs)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_store_that_knows_nothing_goes_by_measured_rates(store: Store) -> None:
    plan, pace = plan_of(), Pace(store)
    assert pace.seconds(find(plan, "dpo"), plan) == pytest.approx(75 * 32 * 0.005)
    assert pace.seconds(find(plan, "play"), plan) == pytest.approx(800 * 113 / 20_000)
    first, second = [call for call in plan.calls if call.ref.stage == "sft"]
    assert pace.seconds(first, plan) == pytest.approx(20 * 120 * 1.5 * 0.0025)
    assert pace.seconds(second, plan) == pytest.approx(25 * (120 * 1.5 + 2 * 120) * 0.0025)


def test_a_store_that_knows_nothing_about_a_pretrained_student_says_so(store: Store) -> None:
    plan = plan_of(*REAL)
    assert {Pace(store).seconds(call, plan) for call in plan.calls} == {None}
    assert (
        Estimate(Costs(), unknown=3).time()
        == "no guess at the time of 3 stages, for nothing like them has run in this store"
    )


def test_the_most_similar_finished_calls_are_the_guess(store: Store) -> None:
    for beta, seconds in ((0.1, 10.0), (0.2, 20.0)):
        plan = plan_of(f"selfplay.beta={beta}")
        for call in plan.calls:
            if not store.is_complete(call.ref):
                finish(store, call, seconds)
    long = plan_of("dpo.steps=1000")
    finish(store, find(long, "dpo"), 130.0)
    plan, pace = plan_of("selfplay.beta=0.3"), Pace(store)
    assert pace.seconds(find(plan, "dpo"), plan) == 15.0
    assert pace.seconds(find(plan, "prepare"), plan) == 10.0
    longer = plan_of("dpo.steps=1000", "selfplay.beta=0.3")
    assert pace.seconds(find(longer, "dpo"), longer) == 130.0


def test_another_student_is_not_alike_but_another_seed_is(store: Store) -> None:
    plan = plan_of()
    for call in plan.calls:
        finish(store, call, 7.0)
    pace = Pace(store)
    seeded, wide = plan_of("seed=5"), plan_of("student.architecture.intermediate_size=384")
    assert pace.seconds(find(seeded, "dpo"), seeded) == 7.0
    assert pace.seconds(find(wide, "dpo"), wide) == pytest.approx(75 * 32 * 0.005)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (98, "98 s"), (99, "2 min"), (3600, "60 min"), (9000, "2.5 h")]
)
def test_seconds_are_said_in_a_unit_that_can_be_read(seconds: float, said: str) -> None:
    assert readable_seconds(seconds) == said
