"""Log-probabilities of responses under a causal language model."""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""Label of a position that is no response token: prompt or padding."""


def sequence_logps(logits_BTV: Tensor, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each response, and its length.

    Args:
        logits_BTV: the model's output, not shifted: position t predicts token t + 1.
        labels_BT: the input token where it belongs to the response, `IGNORED` elsewhere. The shift is done here.

    Returns:
        sums_B: nats, summed over response tokens; float64 if the logits are, else float32.
        counts_B: response tokens, int64. A label at position 0 counts for nothing: no position predicts it.
    """
    num_rows, num_tokens = labels_BT.shape
    targets_BT = F.pad(labels_BT[:, 1:], (0, 1), value=IGNORED)
    is_response_BT = targets_BT != IGNORED
    # Only rows of the logits that predict a response token are copied and made float32: in a batch of long prompts and
    # a large vocabulary that is most of the memory. index_select, because its backward is cheaper than a mask's.
    positions_N = is_response_BT.flatten().nonzero().squeeze(1)
    logits_NV = logits_BTV.flatten(0, 1).index_select(0, positions_N)
    if logits_NV.dtype != torch.float64:
        logits_NV = logits_NV.float()
    logps_N = -F.cross_entropy(logits_NV, targets_BT.flatten()[positions_N], reduction="none")
    logps_BT = logps_N.new_zeros(num_rows * num_tokens).index_copy(0, positions_N, logps_N).view(num_rows, num_tokens)
    return logps_BT.sum(1), is_response_BT.sum(1)
