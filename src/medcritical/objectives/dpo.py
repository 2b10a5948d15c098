"""Direct preference optimisation: the family of losses, each a function of two vectors of log-ratios.

A log-ratio is log pi - log pi_ref of a response, nats: summed over its tokens, or their mean (`per_token`). h stands for
the chosen log-ratio minus the rejected one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from medcritical.config.choices import Length, Loss
from medcritical.config.schema import LossConfig


class DpoLoss(NamedTuple):
    """Per pair: the loss; the implicit rewards beta * log(pi / pi_ref); the chosen log-ratio in nats, summed over tokens.

    All but the loss are without gradient. Rewards are per token where the loss is length-normalised.
    """

    losses_B: Tensor
    chosen_rewards_B: Tensor
    rejected_rewards_B: Tensor
    chosen_log_ratios_B: Tensor


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float,
    config: LossConfig,
) -> DpoLoss:
    """The configured loss of B pairs, from log-probabilities in nats summed over response tokens, each of shape (B,).

    Args:
        chosen_lengths, rejected_lengths: response tokens, shape (B,).
        beta: 1 / nats; for IPO its tau.
    """
    # Policy minus policy and reference minus reference first, as the equations group them, would cancel less well:
    # chosen and rejected may differ by hundreds of nats where policy and reference differ by a fraction of one.
    sums_B = policy_chosen_logps - reference_chosen_logps
    chosen_B, rejected_B = sums_B, policy_rejected_logps - reference_rejected_logps
    if config.length is Length.mean:
        chosen_B, rejected_B = per_token(chosen_B, chosen_lengths), per_token(rejected_B, rejected_lengths)
    losses_B = preference_losses(chosen_B, rejected_B, beta, config)
    return DpoLoss(losses_B, beta * chosen_B.detach(), beta * rejected_B.detach(), sums_B.detach())


def preference_losses(chosen_B: Tensor, rejected_B: Tensor, beta: float, config: LossConfig) -> Tensor:
    """The losses that `config` names, shape (B,), from log-ratios of shape (B,)."""
    margins_B = chosen_B - rejected_B
    match config.loss:
        case Loss.sigmoid:
            return sigmoid_loss(margins_B, beta)
        case Loss.ipo:
            return ipo_loss(margins_B, beta)
        case Loss.hinge:
            return hinge_loss(margins_B, beta)
        case Loss.conservative:
            return conservative_loss(margins_B, beta, config.label_smoothing)
        case Loss.robust:
            return robust_loss(margins_B, beta, config.label_smoothing)
        case Loss.dpo_positive:
            assert config.positive_weight is not None  # the configuration check has seen to it
            return dpo_positive_loss(margins_B, chosen_B, beta, config.positive_weight)


def sigmoid_loss(margins_B: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta h): DPO, Eq. 7 of arXiv:2305.18290. ln 2 where the policy is its reference."""
    return -F.logsigmoid(beta * margins_B)


def ipo_loss(margins_B: Tensor, beta: float) -> Tensor:
    """(h - 1 / (2 beta))^2: IPO, Eq. 17 of arXiv:2310.12036, whose tau is beta here. 1 / (4 beta^2) at the reference.

    As printed, h is of sums; TRL takes means over tokens, which is `dpo.length=mean`.
    """
    return (margins_B - 1 / (2 * beta)).square()


def hinge_loss(margins_B: Tensor, beta: float) -> Tensor:
    """max(0, 1 - beta h): the hinge of SLiC (arXiv:2305.10425) on log-ratios, "hinge-norm" in arXiv:2309.06657. 1 at the
    reference."""
    return (1 - beta * margins_B).relu()


def conservative_loss(margins_B: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """-(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h), a label being wrong with probability e.

    cDPO: Mitchell, "A note on DPO with noisy preferences and relationship to IPO", 2023, ericmitchell.ai/cdpo.pdf. It is
    least at a finite h, where sigmoid(beta h) = 1 - e. ln 2 at the reference.
    """
    right_B, wrong_B = sigmoid_loss(margins_B, beta), sigmoid_loss(-margins_B, beta)
    return (1 - label_smoothing) * right_B + label_smoothing * wrong_B


def robust_loss(margins_B: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """(-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2e): robust DPO, the unbiased loss of
    arXiv:2403.00409 (Sec. 3).

    Under labels flipped with probability e its expectation is the clean sigmoid loss. Unlike cDPO's it falls for ever as h
    grows, below zero. ln 2 at the reference.
    """
    right_B, wrong_B = sigmoid_loss(margins_B, beta), sigmoid_loss(-margins_B, beta)
    return ((1 - label_smoothing) * right_B - label_smoothing * wrong_B) / (1 - 2 * label_smoothing)


def dpo_positive_loss(margins_B: Tensor, chosen_B: Tensor, beta: float, positive_weight: float) -> Tensor:
    """-log sigmoid(beta (h - w max(0, log pi_ref - log pi of chosen))): DPO-positive, Eq. 3 of arXiv:2402.13228.

    The penalty keeps the chosen response at least as likely as the reference finds it. ln 2 at the reference.
    """
    return sigmoid_loss(margins_B - positive_weight * (-chosen_B).relu(), beta)


def per_token(log_ratios_B: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean log-ratio over response tokens, nats per token: length-normalised DPO, Sec. 5 of arXiv:2411.15124.

    Betas are then some fifty times larger than for sums (5 there), and the two scales cannot be compared.
    """
    return log_ratios_B / lengths_B
