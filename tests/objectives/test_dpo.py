"""The DPO loss: numbers worked by hand, invariants, and its gradient in closed form."""

import math
import subprocess
import sys

import pytest
import torch

import medcritical.objectives
from medcritical.objectives import dpo_loss


def logps(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_hand_worked() -> None:
    # Pair 1: chosen rose by 2 nats, rejected fell by 3: margin 0.1 * (2 + 3) = 0.5.
    # Pair 2: chosen fell by 4 nats, rejected rose by 6: margin 0.1 * (-4 - 6) = -1.
    loss = dpo_loss(logps(-10, -24), logps(-18, -14), logps(-12, -20), logps(-15, -20), beta=0.1)
    expected = [math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(1.0))]
    assert loss.losses_B.tolist() == pytest.approx(expected, rel=1e-12)
    assert loss.chosen_rewards_B.tolist() == pytest.approx([0.2, -0.4], rel=1e-12)
    assert loss.rejected_rewards_B.tolist() == pytest.approx([-0.3, 0.6], rel=1e-12)


def test_label_smoothing_hand_worked() -> None:
    # Margin 0.5 again; a label wrong one time in ten.
    loss = dpo_loss(logps(-10), logps(-18), logps(-12), logps(-15), beta=0.1, label_smoothing=0.1)
    expected = 0.9 * math.log(1 + math.exp(-0.5)) + 0.1 * math.log(1 + math.exp(0.5))
    assert loss.losses_B.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("beta", [0.01, 0.1, 2.0])
def test_policy_at_its_reference_gives_ln_2(beta: float, label_smoothing: float) -> None:
    chosen, rejected = logps(-3, -900), logps(-70, -1)
    loss = dpo_loss(chosen, rejected, chosen, rejected, beta=beta, label_smoothing=label_smoothing)
    assert loss.losses_B.tolist() == pytest.approx([math.log(2)] * 2, rel=1e-14)
    assert loss.chosen_rewards_B.tolist() == loss.rejected_rewards_B.tolist() == [0.0, 0.0]


def test_swapping_chosen_and_rejected_flips_the_margin() -> None:
    chosen, rejected, reference_chosen, reference_rejected = logps(-10), logps(-18), logps(-12), logps(-15)
    one = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=0.3)
    other = dpo_loss(rejected, chosen, reference_rejected, reference_chosen, beta=0.3)
    margin = one.chosen_rewards_B - one.rejected_rewards_B
    assert margin.item() == pytest.approx(1.5)
    assert (other.chosen_rewards_B - other.rejected_rewards_B).item() == pytest.approx(-1.5)
    # -log sigmoid(m) + log sigmoid(-m) = -m
    assert (one.losses_B - other.losses_B).item() == pytest.approx(-1.5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.25])
def test_gradient_in_closed_form(label_smoothing: float) -> None:
    beta, e = 0.3, label_smoothing
    generator = torch.Generator().manual_seed(0)
    chosen, rejected, reference_chosen, reference_rejected = (
        5 * torch.randn(4, 6, dtype=torch.float64, generator=generator)
    ).unbind()
    chosen.requires_grad_(), rejected.requires_grad_()
    loss = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=beta, label_smoothing=e)
    grad_chosen, grad_rejected = torch.autograd.grad(loss.losses_B.sum(), [chosen, rejected])
    margin = beta * ((chosen - reference_chosen) - (rejected - reference_rejected)).detach()
    slope = beta * (-(1 - e) * torch.sigmoid(-margin) + e * torch.sigmoid(margin))
    torch.testing.assert_close(grad_chosen, slope, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(grad_rejected, -slope, rtol=1e-12, atol=1e-14)
    assert not loss.chosen_rewards_B.requires_grad


def test_huge_margins_stay_finite() -> None:
    loss = dpo_loss(logps(0, -9000), logps(-9000, 0), logps(0, 0), logps(0, 0), beta=1.0)
    assert loss.losses_B.tolist() == [0.0, 9000.0]


def test_importing_medcritical_does_not_import_torch() -> None:
    code = "import sys, medcritical, medcritical.config.schema; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert medcritical.objectives.dpo_loss is dpo_loss
