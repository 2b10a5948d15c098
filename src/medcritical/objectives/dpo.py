"""Direct preference optimisation."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class DpoLoss(NamedTuple):
    """Per pair: the loss, and the implicit rewards beta * log(pi / pi_ref) in nats times beta, without gradient."""

    losses_B: Tensor
    chosen_rewards_B: Tensor
    rejected_rewards_B: Tensor


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> DpoLoss:
    """Preference loss of B pairs, from log-probabilities in nats summed over response tokens, each of shape (B,).

    With margin m = beta * [(log pi - log pi_ref)(chosen) - (log pi - log pi_ref)(rejected)] the loss of a pair is
    -log sigmoid(m): Eq. 7, arXiv:2305.18290. With label smoothing e it is the conservative loss of a label that is
    wrong with probability e, -(1 - e) log sigmoid(m) - e log sigmoid(-m): Mitchell, "A note on DPO with noisy
    preferences and relationship to IPO", 2023, https://ericmitchell.ai/cdpo.pdf.

    A policy equal to its reference gives ln 2 per pair, whatever beta and label smoothing.
    """
    # Policy minus policy and reference minus reference first, as the equation groups them, would cancel less well:
    # chosen and rejected may differ by hundreds of nats where policy and reference differ by a fraction of one.
    chosen_log_ratios_B = policy_chosen_logps - reference_chosen_logps
    rejected_log_ratios_B = policy_rejected_logps - reference_rejected_logps
    margins_B = beta * (chosen_log_ratios_B - rejected_log_ratios_B)
    losses_B = -(1 - label_smoothing) * F.logsigmoid(margins_B) - label_smoothing * F.logsigmoid(-margins_B)
    return DpoLoss(losses_B, beta * chosen_log_ratios_B.detach(), beta * rejected_log_ratios_B.detach())
