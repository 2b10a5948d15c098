"""Checks and alarms, from rows written by hand."""

import dataclasses
import math

import pytest
import torch

from losses import loss_config
from medcritical.config.choices import Loss
from medcritical.errors import TrainingError
from medcritical.objectives.dpo import preference_losses
from medcritical.training.health import check_finite, check_starts_at_reference, find_alarms, is_rounding


def test_ln_2_passes_and_its_neighbourhood_does_not() -> None:
    check_starts_at_reference(0.6931472, 1e-3)
    check_starts_at_reference(0.6935, 1e-3)
    for loss in (0.6915, 0.6950, 0.0, math.nan):
        with pytest.raises(TrainingError, match=r"another checkpoint; dropout .* template, tokenizer or truncation"):
            check_starts_at_reference(loss, 1e-3)


@pytest.mark.parametrize("beta", [0.01, 0.1, 2.0])
@pytest.mark.parametrize("tokens", [20, 1000])
def test_margins_pass_for_rounding_by_tokens_whatever_beta_is_and_in_bfloat16_alone(beta: float, tokens: int) -> None:
    variance = beta**2 * tokens

    def passes(nats_per_root_token: float, num_pairs: int, precision: str = "bf16-mixed") -> bool:
        return is_rounding(precision, (beta * nats_per_root_token) ** 2 * tokens, variance, num_pairs)

    assert passes(0.25, 1)  # 0.1 * sqrt(1 + 4 sqrt(2)) = 0.258
    assert not passes(0.27, 1)
    assert passes(0.15, 16)  # 0.1 * sqrt(1 + sqrt(2)) = 0.155
    assert not passes(0.16, 16)
    assert not passes(math.nan, 16)
    assert not passes(1e-3, 16, "32-true")


def test_nan_and_infinity_name_the_metric_and_the_step() -> None:
    check_finite({"step": 3, "train/loss": 1.0})
    for value in (math.nan, math.inf):
        with pytest.raises(TrainingError, match=r"train/loss is .* at optimizer step 3"):
            check_finite({"step": 3, "train/loss": value})


def row(
    step: int, ratio: float = 0.0, margin: float = 0.1, told_apart: float = 1.0, loss: float = 0.69
) -> dict[str, float]:
    of_pairs = {"train/margin": margin, "train/reward_accuracy": told_apart, "train/preference_loss": loss}
    return {"step": step, "train/chosen_log_ratio": ratio, **of_pairs}


def test_a_sound_training_has_no_alarm() -> None:
    assert find_alarms([row(1), row(10, 0.2, 1.0), row(100, -0.3, 5.0)], 100) == ()


def test_collapse_is_judged_at_the_end() -> None:
    healed = [row(step, -0.6 if step == 10 else -0.1) for step in range(0, 100, 10)]
    assert find_alarms(healed, 100) == ()
    (alarm,) = find_alarms([*healed, row(100, -0.9), row(110, -1.1)], 120)  # the last fifth of 12 rows: two rows
    assert "ended 1.00 nats per token below the reference" in alarm


@pytest.mark.parametrize(("step", "is_early"), [(10, True), (11, False)])
def test_saturation_alarms_within_the_first_tenth(step: int, is_early: bool) -> None:
    alarms = find_alarms([row(1), row(step, margin=3.2, told_apart=0.97)], 100)
    assert len(alarms) == is_early
    assert all("margin was 3.20 with 97% of pairs told apart already at step 10 of 100" in alarm for alarm in alarms)


def test_a_few_wide_margins_are_no_saturation() -> None:
    assert find_alarms([row(1), row(10, margin=3.2, told_apart=0.9)], 100) == ()


@pytest.mark.parametrize(("name", "beta_h"), [("ipo", 0.5), ("robust", 1.6)])
def test_a_loss_that_is_small_at_its_target_or_below_zero_is_no_saturation(name: str, beta_h: float) -> None:
    """IPO's loss is 0 at its target, beta h = 1/2; robust DPO's falls through 0, with e = 0.3 before beta h = 1.6."""
    zeros = torch.zeros(2, dtype=torch.float64)
    config = dataclasses.replace(loss_config(Loss(name)), label_smoothing=0.3 if name == "robust" else 0.0)
    loss = preference_losses(zeros + beta_h / 0.1, zeros, 0.1, config).mean().item()
    assert loss < 0.05
    assert find_alarms([row(1), row(10, margin=beta_h, loss=loss)], 100) == ()


def test_rows_without_preference_metrics_raise_none() -> None:
    assert find_alarms([{"step": 1, "train/loss": 0.1}], 100) == ()


@pytest.mark.parametrize(("metric", "name"), [("train/loss", "loss"), ("train/grad_norm", "gradient")])
def test_a_training_of_nothing_is_an_alarm_whatever_it_trains(metric: str, name: str) -> None:
    sound = {"train/loss": 0.7, "train/grad_norm": 1.5}
    nothing = [{"step": step, **sound, metric: 0.0} for step in (1, 5, 8)]
    (alarm,) = find_alarms(nothing, 8)
    assert alarm.startswith(f"Nothing was learned: the {name} was exactly 0 in all 3 logged steps")
    assert "started from" not in alarm  # weight decay changes a model without a gradient
    assert find_alarms([*nothing, {"step": 8, **sound}], 8) == ()
    assert find_alarms([{"step": 1, **sound, metric: 1e-300}], 8) == ()
