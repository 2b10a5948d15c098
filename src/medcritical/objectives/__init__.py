"""The mathematics of training: pure functions of tensors, with no configuration, state or logging.

Names of tensors end in their shape. Legend: B pairs or sequences, T tokens, V vocabulary, N response tokens of a batch.
"""

from medcritical.objectives.dpo import DpoLoss, dpo_loss, preference_losses, sigmoid_loss
from medcritical.objectives.logprobs import IGNORED, sequence_logps
from medcritical.objectives.sft import completion_loss, sequence_nll

__all__ = [
    "IGNORED",
    "DpoLoss",
    "completion_loss",
    "dpo_loss",
    "preference_losses",
    "sequence_logps",
    "sequence_nll",
    "sigmoid_loss",
]
