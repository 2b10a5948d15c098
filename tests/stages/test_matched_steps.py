"""Controls that are matched to another arm: how many optimizer steps they get, worked out by hand, and their loss."""

import dataclasses
from pathlib import Path

import pytest

from losses import FAMILY
from medcritical.batching import Example, PairExample
from medcritical.config.choices import Match, PairWeight, Schedule
from medcritical.config.schema import OptimConfig
from medcritical.errors import TrainingError
from medcritical.selfplay.formula import step_formula
from medcritical.stages.context import Inputs
from medcritical.stages.matching import match_facts, matched_steps, with_warmup
from medcritical.store import ArtefactRef, Costs, Environment, Store

OPTIM = OptimConfig(
    learning_rate=1e-3,
    schedule=Schedule.linear,
    warmup_steps=1,
    warmup_share=0.0,
    final_rate=0.1,
    weight_decay=0.0,
    batch_size=4,
    epochs=None,
    steps=20,
    max_grad_norm=1.0,
    max_length=64,
    adam_beta1=0.9,
    adam_beta2=0.98,
    adam_epsilon=1e-8,
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
            made_on = (
                Environment(commit=None, python="3", packages={}, devices=("AMD EPYC",)) if role == "target" else None
            )
            costs = Costs(seconds=seconds)
            store.complete(refs[role], version=1, config={}, inputs={}, facts=facts, costs=costs, environment=made_on)
    return Inputs(store, refs)


CHOSEN = [
    PairExample([1] * 10, [2] * length, None, None, None) for length in (10, 20)
]  # 20 and 30 tokens, 25 on average
PAIRS = [PairExample([1] * 10, [2] * 10, [3] * 20, 0.0, 0.0)]  # the prompt goes with each response: 20 + 30 tokens
EXAMPLES = [Example([1] * 10, [2] * 15)]  # 25 tokens


def test_same_steps_are_the_configured_ones(inputs: Inputs) -> None:
    assert matched_steps(Match.steps, OPTIM, CHOSEN, inputs) == 20


def test_what_has_no_target_is_matched_to_nothing(inputs: Inputs) -> None:
    assert matched_steps(Match.tokens, OPTIM, CHOSEN, Inputs(inputs.store, {})) == 20


def test_same_tokens(inputs: Inputs) -> None:
    assert matched_steps(Match.tokens, OPTIM, CHOSEN, inputs) == 30  # 3,000 tokens / (4 examples of 25 tokens)
    assert matched_steps(Match.tokens, OPTIM, PAIRS, inputs) == 15  # 3,000 tokens / (4 pairs of 50 tokens)
    assert matched_steps(Match.tokens, OPTIM, EXAMPLES, inputs) == 30


def test_same_seconds_count_the_reference_too(inputs: Inputs) -> None:
    assert matched_steps(Match.seconds, OPTIM, CHOSEN, inputs) == 45  # 9 of the target's seconds are worth 4,500 tokens


def test_the_device_whose_seconds_were_counted_is_a_fact(inputs: Inputs) -> None:
    assert match_facts(Match.seconds, inputs) == {"match": "seconds", "timed_on": "AMD EPYC"}
    assert match_facts(Match.tokens, inputs) == {"match": "tokens"}
    older = Inputs(inputs.store, {"target": inputs.refs["target_reference"]})  # its manifest names no device
    assert match_facts(Match.seconds, older)["timed_on"] == "an unknown device"


def test_own_reference_scoring_takes_of_the_same_seconds(inputs: Inputs) -> None:
    own = Inputs(
        inputs.store, {**inputs.refs, "scored": inputs.refs["target_reference"]}
    )  # 3 seconds, like the target's
    assert matched_steps(Match.seconds, OPTIM, PAIRS, own) == 15  # 6 seconds, 3,000 tokens
    slow = Inputs(inputs.store, {"target": inputs.refs["target"], "scored": inputs.refs["target"]})  # 7 seconds of 6
    with pytest.raises(TrainingError, match=r"compare\.at=tokens"):
        matched_steps(Match.seconds, OPTIM, PAIRS, slow)


def test_warm_up_as_a_share() -> None:
    assert with_warmup(OPTIM, 200) is OPTIM
    shared = dataclasses.replace(OPTIM, warmup_steps=0, warmup_share=0.05)
    assert with_warmup(shared, 200).warmup_steps == 10


RATIOS = "(log pi/pi_ref)(chosen) - (log pi/pi_ref)(rejected)"
FORMULAS = {
    "sigmoid": f"-log sigmoid(0.1 * [{RATIOS}])",
    "ipo": f"([{RATIOS}] - 1 / (2 * 0.1))^2",
    "hinge": f"max(0, 1 - 0.1 * [{RATIOS}])",
    "conservative": f"-(1 - 0.1) * log sigmoid(0.1 * [{RATIOS}]) - 0.1 * log sigmoid(-(0.1 * [{RATIOS}]))",
    "robust": f"[-(1 - 0.1) * log sigmoid(0.1 * [{RATIOS}]) + 0.1 * log sigmoid(-(0.1 * [{RATIOS}]))] / (1 - 2 * 0.1)",
    "dpo_positive": f"-log sigmoid(0.1 * [{RATIOS} - 5 * max(0, -(log pi/pi_ref)(chosen))])",
    "length-normalised": f"-log sigmoid(0.1 * [{RATIOS}])".replace("pi_ref", "pi_ref / tokens"),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_loss_is_written_out(name: str) -> None:
    assert step_formula(FAMILY[name], 0.1, 3.0, PairWeight.per_pair) == (
        f"[sum over pairs({FORMULAS[name]}) + 3 * sum over chosen(NLL per token)] / batch_size"
    )
    assert (
        step_formula(FAMILY[name], 0.1, 0.0, PairWeight.per_pair) == f"[sum over pairs({FORMULAS[name]})] / batch_size"
    )
    assert step_formula(FAMILY[name], 0.1, 3.0, PairWeight.per_question) == (
        f"[sum over pairs(w * {FORMULAS[name]}) + 3 * sum over chosen(w * NLL per token)] / sum of w, "
        "w = 1 / pairs of the question"
    )


def test_without_a_contrast_the_loss_is_the_nll_alone() -> None:
    formula = step_formula(None, None, 1.0, PairWeight.per_pair)
    assert formula == "[sum over chosen(NLL per token)] / batch_size"
