"""Negative log-likelihood of responses; prompts are context, not targets."""

from torch import Tensor


def sequence_nll(sums_B: Tensor, counts_B: Tensor) -> Tensor:
    """Negative log-likelihood per token of each sequence, shape (B,), nats per token: every sequence weighs the same.

    The term beside DPO (Eq. 1, arXiv:2404.19733), so that a long response does not outweigh the short ones of a step.

    Args:
        sums_B, counts_B: as `sequence_logps` returns them. A sequence without response tokens gives nan.
    """
    return -sums_B / counts_B


def completion_loss(sums_B: Tensor, *, num_tokens: float) -> Tensor:
    """Cross entropy of response tokens, a scalar in nats per token: every token weighs the same.

    Args:
        sums_B: log-probabilities of responses, nats summed over tokens.
        num_tokens: response tokens of the whole optimizer step. Then the sum over the step's micro-batches is the mean
            over its tokens, however the step was cut; the mean of micro-batch means would weigh tokens unequally.
    """
    return -sums_B.sum() / num_tokens
