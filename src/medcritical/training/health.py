"""Is a training sound? Pure functions over metrics: two that stop it, and alarms that are reported with its result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from medcritical.errors import TrainingError

Row = Mapping[str, float]

LN_2 = math.log(2)
START_TOLERANCE = {"32-true": 1e-3, "bf16-mixed": 2e-2}
"""Nats by which the first preference loss may miss ln 2 whatever its margins are."""

ROUNDING = {"32-true": 0.0, "bf16-mixed": 0.1}
"""Nats, standard deviation: what a token's log-probability may differ by between scoring and training, whose rows are others, so
that matrix products round otherwise. Twice what was measured: 0.053 under autocast, 0.059 with bfloat16 weights (SmolLM2-135M, 8
responses of 500 tokens, on a CPU). At a beta of 0.1 a pair of such responses had margins of 0.17, and so losses 0.08 off ln 2."""

COLLAPSE = -0.5
"""Nats per token of mean log pi/pi_ref on chosen. At -0.5 a token has 61 % of its former probability. Our choice."""

SATURATION, TOLD_APART = 3.0, 0.95
"""Mean margin (difference of rewards, beta in it) and share of pairs told apart from which on pairs have next to nothing left to
teach: at a margin of 3 the sigmoid loss is 0.05 nats. Margins mean the same under every loss; a loss near zero does not (IPO's is
there at its target, robust DPO's falls below). Our choice."""


def is_rounding(precision: str, mean_square: float, variance: float, num_pairs: int) -> bool:
    """True for margins of a policy that may equal its reference: as large as rounding makes them, whatever beta and lengths are.

    The mean square of n independent normal margins has a standard deviation of sqrt(2 / n) times itself; four are allowed.

    Args:
        precision: Lightning's name of it. In float32 no margin is rounding.
        mean_square: of the margins.
        variance: mean over pairs of the margin's variance, were that of each token's log-probability 1.
    """
    return mean_square <= ROUNDING[precision] ** 2 * variance * (1 + 4 * math.sqrt(2 / num_pairs))


def check_starts_at_reference(preference_loss: float, tolerance: float) -> None:
    """The first preference loss of a policy that equals its reference is ln 2.

    Args:
        preference_loss: mean over pairs of the first optimizer step, before it changed a weight.

    Raises:
        TrainingError: it is off by more than `tolerance`, or nan.
    """
    if not abs(preference_loss - LN_2) <= tolerance:
        raise TrainingError(
            f"The first preference loss is {preference_loss:.4f}, but a policy that starts at its reference has "
            f"ln 2 = {LN_2:.4f}. Likely causes: the reference log-probabilities come from another checkpoint; dropout "
            "is on; they were computed with another template, tokenizer or truncation; the adapter is not fresh."
        )


def check_finite(row: Row) -> None:
    """Raises TrainingError if a metric is nan or infinite."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{name} is {value} at optimizer step {row['step']:.0f}: training has diverged. "
                "Lower learning_rate, lengthen warmup_steps, or use trainer.precision=float32."
            )


def find_alarms(rows: Sequence[Row], num_steps: int) -> tuple[str, ...]:
    """One sentence per finding, in order; empty for a sound training."""
    findings = (nothing_learned(rows), chosen_collapse(rows), early_saturation(rows, num_steps))
    return tuple(finding for finding in findings if finding is not None)


def nothing_learned(rows: Sequence[Row]) -> str | None:
    """A sentence if loss or gradient is exactly 0 in every row, the first and the last step's among them."""
    for name, metric in (("loss", "train/loss"), ("gradient", "train/grad_norm")):
        if rows and all(row.get(metric) == 0 for row in rows):
            return (
                f"Nothing was learned: the {name} was exactly 0 in all {len(rows)} logged steps. Look at the examples, and at "
                "what weighs in the loss."
            )
    return None


def chosen_collapse(rows: Sequence[Row]) -> str | None:
    """A sentence if the policy ends up finding chosen responses far less likely than the reference does.

    The mean over the last fifth of the rows counts: a dip after the first, largest steps is common and heals.
    """
    ratios = [row["train/chosen_log_ratio"] for row in rows if "train/chosen_log_ratio" in row]
    if not ratios or (ratio := fmean(ratios[-max(1, len(ratios) // 5) :])) >= COLLAPSE:
        return None
    return (
        f"Chosen responses ended {-ratio:.2f} nats per token below the reference (alarm at {-COLLAPSE}): the preference "
        "loss pushes both responses down. Raise nll_weight or beta, or lower learning_rate."
    )


def early_saturation(rows: Sequence[Row], num_steps: int) -> str | None:
    """A sentence if nearly all pairs were told apart by a wide margin within the first tenth of the optimizer steps."""
    for row in rows:
        margin, told_apart = row.get("train/margin", 0.0), row.get("train/reward_accuracy", 0.0)
        if margin > SATURATION and told_apart >= TOLD_APART and row["step"] <= num_steps / 10:
            return (
                f"The margin was {margin:.2f} with {told_apart:.0%} of pairs told apart already at step {row['step']:.0f} of "
                f"{num_steps} (alarm above {SATURATION:g} with {TOLD_APART:.0%}): they are told apart by something easy, such "
                "as form or length. Look at the pairs, or lower learning_rate."
            )
    return None
