"""Preference losses that tests of several packages start from."""

from medcritical.config.choices import Length, Loss
from medcritical.config.schema import LossConfig


def loss_config(
    loss: Loss = Loss.sigmoid,
    *,
    length: Length = Length.sum,
    label_smoothing: float = 0.0,
    positive_weight: float | None = None,
) -> LossConfig:
    """A member of the family; the plain sigmoid loss unless told otherwise."""
    return LossConfig(loss=loss, length=length, label_smoothing=label_smoothing, positive_weight=positive_weight)


FAMILY = {
    "sigmoid": loss_config(),
    "ipo": loss_config(Loss.ipo),
    "hinge": loss_config(Loss.hinge),
    "conservative": loss_config(Loss.conservative, label_smoothing=0.1),
    "robust": loss_config(Loss.robust, label_smoothing=0.1),
    "dpo_positive": loss_config(Loss.dpo_positive, positive_weight=5.0),
    "length-normalised": loss_config(length=Length.mean),
}
