"""The family of preference losses: numbers worked by hand, invariants, and gradients in closed form."""

import math
import subprocess
import sys

import pytest
import torch

import medcritical.objectives
from losses import FAMILY, loss_config
from medcritical.config.choices import Length, Loss
from medcritical.config.schema import LossConfig
from medcritical.objectives import dpo_loss, preference_losses
from medcritical.objectives.dpo import DpoLoss


def logps(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss_of(
    *vectors: torch.Tensor, beta: float, config: LossConfig = FAMILY["sigmoid"], lengths: tuple[float, float] = (1, 1)
) -> DpoLoss:
    """The loss of pairs, all with chosen and rejected responses of these lengths."""
    chosen_lengths, rejected_lengths = (torch.full_like(vectors[0], length) for length in lengths)
    return dpo_loss(
        *vectors, chosen_lengths=chosen_lengths, rejected_lengths=rejected_lengths, beta=beta, config=config
    )


ln = math.log
exp = math.exp
# Pair 1: chosen rose by 2 nats, rejected fell by 3: h = 5. Pair 2: chosen fell by 4, rejected rose by 6: h = -10.
CHOSEN, REJECTED = logps(-10, -24), logps(-18, -14)
REFERENCE_CHOSEN, REFERENCE_REJECTED = logps(-12, -20), logps(-15, -20)
BY_HAND = {  # at beta 0.1, so beta h = 0.5 and -1
    "sigmoid": [ln(1 + exp(-0.5)), ln(1 + exp(1))],
    "ipo": [(5 - 5) ** 2, (-10 - 5) ** 2],  # 1 / (2 beta) = 5
    "hinge": [0.5, 2.0],
    "conservative": [
        0.9 * ln(1 + exp(-0.5)) + 0.1 * ln(1 + exp(0.5)),
        0.9 * ln(1 + exp(1)) + 0.1 * ln(1 + exp(-1)),
    ],
    "robust": [
        (0.9 * ln(1 + exp(-0.5)) - 0.1 * ln(1 + exp(0.5))) / 0.8,
        (0.9 * ln(1 + exp(1)) - 0.1 * ln(1 + exp(-1))) / 0.8,
    ],
    "dpo_positive": [ln(1 + exp(-0.5)), ln(1 + exp(3))],  # chosen fell by 4 in the second: -0.1 * (10 + 5 * 4) = -3
    "length-normalised": [ln(1 + exp(-0.1 * (2 / 4 + 3 / 2))), ln(1 + exp(0.1 * (4 / 4 + 6 / 2)))],
}


@pytest.mark.parametrize("name", FAMILY)
def test_hand_worked(name: str) -> None:
    loss = loss_of(
        CHOSEN, REJECTED, REFERENCE_CHOSEN, REFERENCE_REJECTED, beta=0.1, config=FAMILY[name], lengths=(4, 2)
    )
    assert loss.losses_B.tolist() == pytest.approx(BY_HAND[name], rel=1e-12, abs=1e-12)
    assert loss.chosen_log_ratios_B.tolist() == [2, -4]


def test_rewards_hand_worked() -> None:
    vectors = (CHOSEN, REJECTED, REFERENCE_CHOSEN, REFERENCE_REJECTED)
    summed = loss_of(*vectors, beta=0.1, lengths=(4, 2))
    assert summed.chosen_rewards_B.tolist() == pytest.approx([0.2, -0.4], rel=1e-12)
    assert summed.rejected_rewards_B.tolist() == pytest.approx([-0.3, 0.6], rel=1e-12)
    mean = loss_of(*vectors, beta=0.1, lengths=(4, 2), config=FAMILY["length-normalised"])
    assert mean.chosen_rewards_B.tolist() == pytest.approx([0.05, -0.1], rel=1e-12)
    assert mean.rejected_rewards_B.tolist() == pytest.approx([-0.15, 0.3], rel=1e-12)


AT_REFERENCE = {"ipo": lambda beta: 1 / (4 * beta**2), "hinge": lambda beta: 1.0}


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("beta", [0.01, 0.1, 2.0])
def test_policy_at_its_reference(name: str, beta: float) -> None:
    """ln 2 per pair for all that are made of sigmoids, whatever beta, smoothing and weight."""
    chosen, rejected = logps(-3, -900), logps(-70, -1)
    loss = loss_of(chosen, rejected, chosen, rejected, beta=beta, config=FAMILY[name], lengths=(3, 7))
    expected = AT_REFERENCE.get(name, lambda beta: math.log(2))(beta)
    assert loss.losses_B.tolist() == pytest.approx([expected] * 2, rel=1e-13)
    assert loss.chosen_rewards_B.tolist() == loss.rejected_rewards_B.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("length", Length)
@pytest.mark.parametrize("loss", [loss for loss in Loss if loss not in (Loss.conservative, Loss.robust)])
def test_every_loss_goes_with_every_length(loss: Loss, length: Length) -> None:
    """With the mean over tokens, a loss is itself on log-ratios divided by the lengths."""
    weight = 3.0 if loss is Loss.dpo_positive else None
    config = loss_config(loss, length=length, positive_weight=weight)
    vectors = (CHOSEN, REJECTED, REFERENCE_CHOSEN, REFERENCE_REJECTED)
    chosen, rejected = CHOSEN - REFERENCE_CHOSEN, REJECTED - REFERENCE_REJECTED
    divided = (chosen / 4, rejected / 2) if length is Length.mean else (chosen, rejected)
    expected = preference_losses(*divided, 0.3, loss_config(loss, positive_weight=weight))
    assert torch.equal(loss_of(*vectors, beta=0.3, config=config, lengths=(4, 2)).losses_B, expected)


def test_swapping_chosen_and_rejected_flips_the_margin() -> None:
    chosen, rejected, reference_chosen, reference_rejected = logps(-10), logps(-18), logps(-12), logps(-15)
    one = loss_of(chosen, rejected, reference_chosen, reference_rejected, beta=0.3)
    other = loss_of(rejected, chosen, reference_rejected, reference_chosen, beta=0.3)
    margin = one.chosen_rewards_B - one.rejected_rewards_B
    assert margin.item() == pytest.approx(1.5)
    assert (other.chosen_rewards_B - other.rejected_rewards_B).item() == pytest.approx(-1.5)
    # -log sigmoid(m) + log sigmoid(-m) = -m
    assert (one.losses_B - other.losses_B).item() == pytest.approx(-1.5)


def slope(name: str, margin: float, chosen: float, beta: float) -> tuple[float, float]:
    """(d loss / d chosen log-ratio, d loss / d rejected log-ratio), from the equations."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + exp(-x))

    if name == "dpo_positive":
        penalised = beta * (margin - 5 * max(0.0, -chosen))
        outer = -beta * sigmoid(-penalised)
        return outer * (1 + (5 if chosen < 0 else 0)), -outer
    slopes = {
        "sigmoid": -beta * sigmoid(-beta * margin),
        "ipo": 2 * (margin - 1 / (2 * beta)),
        "hinge": -beta if beta * margin < 1 else 0.0,
        "conservative": -beta * (0.9 - sigmoid(beta * margin)),
        "robust": -beta * (0.9 * sigmoid(-beta * margin) + 0.1 * sigmoid(beta * margin)) / 0.8,
    }
    return slopes[name], -slopes[name]


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "length-normalised"])
def test_gradient_in_closed_form(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = (5 * torch.randn(2, 6, dtype=torch.float64, generator=generator)).unbind()
    chosen.requires_grad_(), rejected.requires_grad_()
    loss = loss_of(chosen, rejected, torch.zeros_like(chosen), torch.zeros_like(chosen), beta=0.3, config=FAMILY[name])
    gradients = torch.autograd.grad(loss.losses_B.sum(), [chosen, rejected])
    expected = [slope(name, (c - r).item(), c.item(), 0.3) for c, r in zip(chosen, rejected, strict=True)]
    for found, wanted in zip(gradients, zip(*expected, strict=True), strict=True):
        assert found.tolist() == pytest.approx(list(wanted), rel=1e-11, abs=1e-13)
    assert not loss.chosen_rewards_B.requires_grad


def test_robust_is_unbiased_under_flipped_labels_and_conservative_is_not() -> None:
    """What tells the two apart: a label flipped with probability e leaves the mean of one at the clean loss."""
    margin, beta, e = logps(3.0), 0.4, 0.2
    clean = preference_losses(margin, logps(0), beta, FAMILY["sigmoid"]).item()
    means = {}
    for loss in (Loss.robust, Loss.conservative):
        config = loss_config(loss, label_smoothing=e)
        right, flipped = (preference_losses(sign * margin, logps(0), beta, config).item() for sign in (1, -1))
        means[loss] = (1 - e) * right + e * flipped
    assert means[Loss.robust] == pytest.approx(clean, rel=1e-12)
    assert means[Loss.conservative] > clean + 0.1


def test_conservative_is_least_where_the_label_is_right_as_often_as_it_says() -> None:
    margins = torch.linspace(-10, 60, 7001, dtype=torch.float64)
    losses = preference_losses(margins, torch.zeros_like(margins), 0.1, FAMILY["conservative"])
    assert margins[losses.argmin()].item() == pytest.approx(math.log(0.9 / 0.1) / 0.1, abs=0.01)


def test_huge_margins_stay_finite() -> None:
    loss = loss_of(logps(0, -9000), logps(-9000, 0), logps(0, 0), logps(0, 0), beta=1.0)
    assert loss.losses_B.tolist() == [0.0, 9000.0]


def test_importing_medcritical_does_not_import_torch() -> None:
    code = "import sys, medcritical, medcritical.config.schema; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert medcritical.objectives.dpo_loss is dpo_loss
