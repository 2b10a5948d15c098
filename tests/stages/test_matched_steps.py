"""Controls that are matched to another arm: how many optimizer steps they get, worked out by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from medcritical.batching import PairExample
from medcritical.config.choices import Match, Precision, Schedule, TemplateLevel
from medcritical.config.schema import OptimConfig
from medcritical.config.stages import DpoStage
from medcritical.stages.context import Inputs
from medcritical.stages.dpo import formula, matched_steps
from medcritical.store import ArtefactRef, Costs, Store

OPTIM = OptimConfig(
    learning_rate=1e-3,
    schedule=Schedule.linear,
    warmup_steps=1,
    final_rate=0.1,
    weight_decay=0.0,
    batch_size=4,
    epochs=None,
    steps=20,
    max_grad_norm=1.0,
    max_length=64,
)


def stage(match: Match, beta: float | None = None) -> DpoStage:
    return DpoStage(
        optim=OPTIM,
        beta=beta,
        label_smoothing=0.0,
        nll_weight=3.0,
        match=match,
        starts_at_reference=False,
        template=cast(Any, SimpleNamespace(level=TemplateLevel.both)),
        lora=None,
        precision=Precision.float32,
        seed=0,
    )


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """An arm that trained on 3,000 tokens in 6 seconds after 3 seconds of reference scoring."""
    store = Store(tmp_path)
    refs = {}
    for role, name, facts, seconds in (
        ("target", "dpo", {"trained_tokens": 3000, "train_seconds": 6.0}, 7.0),
        ("target_reference", "reference", {}, 3.0),
    ):
        refs[role] = ArtefactRef(stage=name, key="0" * 64)
        with store.build(refs[role]):
            store.complete(refs[role], version=1, config={}, inputs={}, facts=facts, costs=Costs(seconds=seconds))
    return Inputs(store, refs)


PAIRS = [PairExample([1] * 10, [2] * length, None, 0.0, None) for length in (10, 20)]  # 20 and 30 tokens, 25 on average


def test_same_steps_are_the_configured_ones(inputs: Inputs) -> None:
    assert matched_steps(stage(Match.steps), PAIRS, inputs) == 20


def test_same_tokens(inputs: Inputs) -> None:
    assert matched_steps(stage(Match.tokens), PAIRS, inputs) == 30  # 3,000 tokens / (4 examples of 25 tokens)


def test_same_seconds_count_the_reference_too(inputs: Inputs) -> None:
    assert matched_steps(stage(Match.seconds), PAIRS, inputs) == 45  # 9 of the target's seconds are worth 4,500 tokens


def test_the_loss_is_written_out() -> None:
    assert formula(stage(Match.steps)) == "[3 * sum over chosen(NLL per token)] / batch_size"
    assert formula(stage(Match.steps, beta=0.1)) == (
        "[sum over pairs(-log sigmoid(0.1 * [(log pi/pi_ref)(chosen) - (log pi/pi_ref)(rejected)])) "
        "+ 3 * sum over chosen(NLL per token)] / batch_size"
    )
