"""The loss of one optimizer step of preference training, written out: what a run prints and stores."""

from __future__ import annotations

from medcritical.config.choices import Length, Loss, PairWeight
from medcritical.config.schema import LossConfig

_LOSSES = {
    Loss.sigmoid: "-log sigmoid({m})",
    Loss.ipo: "({h} - 1 / (2 * {beta:g}))^2",
    Loss.hinge: "max(0, 1 - {m})",
    Loss.conservative: "-(1 - {e:g}) * log sigmoid({m}) - {e:g} * log sigmoid(-({m}))",
    Loss.robust: "[-(1 - {e:g}) * log sigmoid({m}) + {e:g} * log sigmoid(-({m}))] / (1 - 2 * {e:g})",
    Loss.dpo_positive: "-log sigmoid({beta:g} * [{h} - {w:g} * max(0, -{r}(chosen))])",
}


def step_formula(loss: LossConfig | None, beta: float | None, nll_weight: float, pair_weight: PairWeight) -> str:
    """The formula; without a beta the NLL of chosen is trained alone."""
    weight, divisor = "", "batch_size"
    if pair_weight is PairWeight.per_question:
        weight, divisor = "w * ", "sum of w, w = 1 / pairs of the question"
    nll = f"sum over chosen({weight}NLL per token)"
    if beta is None or loss is None:
        return f"[{nll}] / {divisor}"
    ratio = "(log pi/pi_ref / tokens)" if loss.length is Length.mean else "(log pi/pi_ref)"
    h = f"{ratio}(chosen) - {ratio}(rejected)"
    margin = h if loss.loss is Loss.dpo_positive else f"[{h}]"
    pair = _LOSSES[loss.loss].format(
        m=f"{beta:g} * [{h}]",
        h=margin,
        r=ratio,
        beta=beta,
        e=loss.label_smoothing,
        w=loss.positive_weight or 0.0,
    )
    preference = f"sum over pairs({weight}{pair})"
    return f"[{preference} + {nll_weight:g} * {nll}] / {divisor}" if nll_weight else f"[{preference}] / {divisor}"
