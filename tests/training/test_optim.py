"""Learning rates by hand."""

import math

import pytest
import torch

from medcritical.config.choices import Schedule
from medcritical.config.schema import OptimConfig
from medcritical.training.optim import build_adamw, rate_at


@pytest.mark.parametrize("schedule", list(Schedule))
def test_warm_up_is_linear_and_reaches_the_peak(schedule: Schedule) -> None:
    assert [rate_at(step, 100, 4, 0.1, schedule) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_linear_decay_ends_at_the_final_rate() -> None:
    rates = [rate_at(step, 6, 2, 0.2, Schedule.linear) for step in range(6)]
    assert rates == pytest.approx([0.5, 1.0, 0.8, 0.6, 0.4, 0.2])


def test_cosine_decay_is_half_way_in_the_middle() -> None:
    rates = [rate_at(step, 5, 1, 0.2, Schedule.cosine) for step in range(5)]
    quarter = 0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2
    assert rates == pytest.approx([1.0, quarter, 0.6, 1.2 - quarter, 0.2])


def test_constant_stays() -> None:
    assert [rate_at(step, 5, 1, 0.2, Schedule.constant) for step in range(5)] == [1.0] * 5


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("warmup", [0, 3, 9, 50])
def test_rates_are_shares_of_the_peak(schedule: Schedule, warmup: int) -> None:
    assert all(0 < rate_at(step, 9, warmup, 0.1, schedule) <= 1 for step in range(9))


def test_adamw_is_the_measured_recipe(make_optim: type[OptimConfig]) -> None:
    optimizer = build_adamw([torch.nn.Parameter(torch.zeros(2, 2))], make_optim(weight_decay=0.03))
    group = optimizer.param_groups[0]
    assert (group["betas"], group["weight_decay"], group["fused"]) == ((0.9, 0.98), 0.03, True)
