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


def test_adamw_takes_its_moments_and_epsilon_from_the_configuration(make_optim: type[OptimConfig]) -> None:
    """One step by hand: m = 0.1 g / 0.1, v = 0.5 g^2 / 0.5, so a weight moves by the rate times g / (|g| + epsilon)."""
    weight = torch.nn.Parameter(torch.zeros(2))
    optim = make_optim(weight_decay=0.0, learning_rate=0.1, adam_beta1=0.9, adam_beta2=0.5, adam_epsilon=0.5)
    optimizer = build_adamw([weight], optim)
    weight.grad = torch.tensor([0.5, -1.5])
    optimizer.step()
    assert weight.tolist() == pytest.approx([-0.1 * 0.5 / 1.0, 0.1 * 1.5 / 2.0])
    # The second moment forgets by half: v = (0.5 * 0.5 * 0.25 + 0.5 * 1) / 0.75, m = (0.9 * 0.1 * 0.5 + 0.1 * 1) / 0.19.
    weight.grad = torch.tensor([1.0, 0.0])
    optimizer.step()
    mean, square = (0.09 * 0.5 + 0.1) / 0.19, (0.25 * 0.25 + 0.5) / 0.75
    assert weight[0].item() == pytest.approx(-0.05 - 0.1 * mean / (math.sqrt(square) + 0.5))
    group = optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"], group["fused"]) == ((0.9, 0.5), 0.5, 0.0, True)
