"""A rank that stops answering ends all of them within the timeout, is named first, and costs only steps."""

from pathlib import Path

import pytest
import torch
from ranked_runs import RANKS, execute, fault, rows_of, trained_models

TIMEOUT = 10.0  # seconds
REACTION = 10.0  # to see it and kill all ranks


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_a_stopped_rank_is_killed_within_the_timeout_and_the_stage_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    whole, call, _ = execute(tmp_path / "whole", *RANKS, f"strategy={strategy}")
    stopped_at = tmp_path / "stopped"
    for name, value in fault(stopped_at, 1, "SIGSTOP", "step-00000020", seconds=0.4).items():
        monkeypatch.setenv(name, value)
    limit = f"cluster.timeout_seconds={TIMEOUT:g}"
    store, _, seen = execute(tmp_path / "ranks", *RANKS, f"strategy={strategy}", limit)
    shown = seen.getvalue()
    assert "sft (stage 1) failed: rank 1 of 2 did not answer for 10 seconds (cluster.timeout_seconds)" in shown
    assert shown.index("rank 1 of 2") < shown.index("starting again, 1 of 2 times") < shown.index("goes on from")
    assert rows_without_seconds(rows_of(store, call)) == rows_without_seconds(rows_of(whole, call))
    (_, expected), (_, trained) = (*trained_models(tmp_path / "whole"), *trained_models(tmp_path / "ranks"))
    assert trained.keys() == expected.keys()
    assert all(torch.equal(trained[name], weight) for name, weight in expected.items())
    took = seen.when("starting again") - float(stopped_at.read_text(encoding="utf-8"))
    print(f"{strategy}: starts again {took:.1f} s after the stop")
    assert TIMEOUT / 2 < took < TIMEOUT + REACTION


def rows_without_seconds(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
