"""What the runs of these tests are, and what of them must be equal."""

import json
from pathlib import Path
from typing import Any

import torch
from ranked_runs import trained_models

TOY = (
    *("strategy=zero2", "evaluation.base=false", "data.sizes.test=20", "cluster.timeout_seconds=120"),
    *("trainer.checkpoint_every_steps=5", "trainer.log_every_n_steps=1", "cluster.spread_generation=true"),
)
EXPERIMENT = ("experiments=toy", "arm=dpo_self", "selfplay.iterations=1", "sft.correction=null", *TOY)
CPU = ("trainer.accelerator=cpu",)

Training = tuple[list[dict[str, float]], dict[str, Any]]


def places(root: Path) -> tuple[str, str]:
    """Overrides: where a run below `root` has its store and its outputs."""
    return f"paths.store={root / 'store'}", f"paths.outputs={root / 'outputs'}"


def trainings(root: Path) -> dict[str, Training]:
    """Metric rows and weights of every training in the store below `root`."""
    found = {}
    for name, weights in trained_models(root):
        lines = (root / "store" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]
        found[name] = (rows, weights)
    return found


def assert_same(one: dict[str, Training], other: dict[str, Training], *, number: int) -> None:
    """Losses and weights of so many trainings bit for bit: two ranks sum in one order, wherever they are."""
    assert one.keys() == other.keys()
    assert len(one) == number
    for name, (rows, weights) in one.items():
        assert rows == other[name][0], name
        assert all(torch.equal(weight, other[name][1][key]) for key, weight in weights.items()), name
