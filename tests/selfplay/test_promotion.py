"""The promotion gate: what becomes of a trained policy, by hand."""

import pytest

from medcritical.config.schema import GateConfig
from medcritical.selfplay.promotion import GateState, decide

GATE = GateConfig(questions=None, min_gain=0.01, max_drop=0.02, patience=3)


def after(best: float, waiting: int = 0) -> GateState:
    return GateState(decision="promote", best=best, waiting=waiting)


@pytest.mark.parametrize(
    ("accuracy", "decision", "best", "waiting"),
    [
        (0.70, "promote", 0.70, 0),
        (0.56, "promote", 0.56, 0),  # just the gain that is asked for; as floats 0.56 - 0.55 is more, 0.57 - 0.56 less
        (0.559, "keep", 0.55, 1),
        (0.55, "keep", 0.55, 1),
        (0.53, "keep", 0.55, 1),  # just the drop that is allowed
        (0.529, "roll_back", 0.55, 1),
        (0.0, "roll_back", 0.55, 1),
    ],
)
def test_decisions(accuracy: float, decision: str, best: float, waiting: int) -> None:
    assert decide(GATE, after(0.55), accuracy) == GateState(decision=decision, best=best, waiting=waiting)  # type: ignore[arg-type]


def test_the_loop_stops_when_it_has_waited_long_enough() -> None:
    assert decide(GATE, after(0.55, waiting=1), 0.55).decision == "keep"
    assert decide(GATE, after(0.55, waiting=2), 0.55).decision == "stop"
    assert decide(GATE, after(0.55, waiting=2), 0.60) == GateState(decision="promote", best=0.60, waiting=0)


def test_without_a_least_gain_an_equal_policy_is_still_no_better() -> None:
    loose = GateConfig(questions=None, min_gain=0.0, max_drop=0.0, patience=3)
    assert decide(loose, after(0.55), 0.55).decision == "keep"
    assert decide(loose, after(0.55), 0.551).decision == "promote"


@pytest.mark.parametrize("hundredths", range(1, 100))
def test_rounding_decides_nothing(hundredths: int) -> None:
    best = (hundredths - 1) / 100
    assert decide(GATE, after(best), hundredths / 100).decision == "promote"
