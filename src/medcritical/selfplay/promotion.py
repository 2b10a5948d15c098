"""The promotion gate: how the loop goes on after a training. Pure."""

from __future__ import annotations

from typing import Literal

from medcritical.config.schema import GateConfig
from medcritical.records import Record

Decision = Literal["promote", "keep", "roll_back", "stop"]


class GateState(Record, frozen=True, kw_only=True):
    """A decision, the best accuracy on dev questions so far, and how many iterations have waited for a promotion."""

    decision: Decision
    best: float
    waiting: int


def decide(config: GateConfig, before: GateState, accuracy: float) -> GateState:
    """What becomes of a policy with this accuracy on dev questions.

    At least `min_gain` above the best (and above it at all): promote, it is the best now. Else, after `patience` iterations
    in a row: stop with the best. At most `max_drop` below the best: keep, the loop goes on from it. Lower: roll back to the
    best.
    """
    gain = round(accuracy - before.best, 9)  # accuracies are shares of counts: 0.56 - 0.55 is meant to be 0.01
    if gain > 0 and gain >= config.min_gain:
        return GateState(decision="promote", best=accuracy, waiting=0)
    waiting = before.waiting + 1
    if waiting >= config.patience:
        return GateState(decision="stop", best=before.best, waiting=waiting)
    decision: Decision = "keep" if -gain <= config.max_drop else "roll_back"
    return GateState(decision=decision, best=before.best, waiting=waiting)
