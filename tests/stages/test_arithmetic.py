"""Arithmetic that differs from one artefact to the next: who shares a store may have another device, or another strategy."""

import dataclasses
import functools
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from configurations import configure
from medcritical.config.choices import Match, PairWeight, Precision, StrategyKind
from medcritical.config.schema import TrainerConfig
from medcritical.config.stages import DpoStage, ReferenceStage
from medcritical.errors import ConfigError
from medcritical.modeling.student import create_student
from medcritical.records import PreferencePair, Question, ScoredPair
from medcritical.stages import dpo, reference
from medcritical.stages.context import Inputs, Output
from medcritical.stages.environment import environment_of
from medcritical.stages.pair import PAIRS
from medcritical.store import ArtefactRef, Costs, Store, read_records, write_records
from medcritical.store.artefact import MANIFEST
from medcritical.training.device import LightningPrecision, arithmetic_of, forward_of

CONFIG = configure("trainer.accelerator=cpu", "dpo.steps=2", "dpo.warmup_steps=0", "dpo.epochs=null")
STAGE = DpoStage(
    optim=CONFIG.dpo,
    beta=0.1,
    loss=CONFIG.dpo,
    nll_weight=0.0,
    match=Match.steps,
    starts_at_reference=True,
    template=CONFIG.template,
    lora=None,
    seed=0,
    pair_weight=PairWeight.per_pair,
)
QUESTION = Question(
    id="q", stem="fever", options={"A": "rash", "B": "fever"}, answer="A", language="en", split="train", source="test"
)
PAIR = PreferencePair(question=QUESTION, chosen="rash A", rejected="fever B", origin="own")


class Machine:
    """A machine that shares a store with others; `precision` is what trainer.precision=auto comes to there."""

    def __init__(self, store: Store, precision: Precision) -> None:
        self.store = store
        self.trainer: TrainerConfig = dataclasses.replace(CONFIG.trainer, precision=precision)

    def make(self, stage: str, run: object, config: object, inputs: dict[str, ArtefactRef]) -> ArtefactRef:
        ref = ArtefactRef(stage=stage, key="0" * 64)
        with self.store.build(ref) as folder:
            output = Output(folder, self.trainer, lambda *progress: None)
            run(config, Inputs(self.store, inputs), output)  # type: ignore[operator]
            environment = environment_of(output.computed, None)
            self.store.complete(
                ref, version=1, config={}, inputs=inputs, facts=output.facts, costs=Costs(), environment=environment
            )
        return ref


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, ArtefactRef]:
    """A student and a pair, in a store."""

    def write_student(config: None, inputs: Inputs, output: Output) -> None:
        words = ("fever", "rash", "A", "B", ".", "?", "<plan>", "</plan>")
        create_student(CONFIG.student, words, output.folder, seed=0)

    def write_pairs(config: None, inputs: Inputs, output: Output) -> None:
        write_records(output.folder / PAIRS, [PAIR])

    maker = Machine(Store(tmp_path), Precision.float32)
    return {
        "checkpoint": maker.make("sft", write_student, None, {}),
        "pairs": maker.make("pair", write_pairs, None, {}),
    }


def arithmetic(store: Store, ref: ArtefactRef) -> str:
    environment = store.manifest(ref).environment
    assert environment is not None
    return environment.arithmetic


@pytest.mark.parametrize("there", [Precision.float32, Precision.bfloat16])
def test_scores_in_other_arithmetic_are_refused_and_those_in_the_same_are_not(
    tmp_path: Path, inputs: dict[str, ArtefactRef], there: Precision
) -> None:
    names = {Precision.float32: "float32", Precision.bfloat16: "bfloat16 autocast"}
    store = Store(tmp_path)
    stage = ReferenceStage(CONFIG.template, CONFIG.dpo.max_length)
    scored = Machine(store, there).make("reference", reference.run, stage, inputs)
    assert arithmetic(store, scored) == names[there]
    (here,) = {Precision.float32, Precision.bfloat16} - {there}
    wanted = {"checkpoint": inputs["checkpoint"], "scored": scored}
    sentence = f"{re.escape(str(store.folder(scored)))} holds .* computed in {names[there]}, and training here .* {names[here]}"
    with pytest.raises(ConfigError, match=f"{sentence}.*set trainer.precision=.*or delete that folder"):
        Machine(store, here).make("dpo", dpo.run, STAGE, wanted)
    trained = Machine(store, there).make("dpo", dpo.run, STAGE, wanted)
    assert store.manifest(trained).facts["steps"] == 2
    assert arithmetic(store, trained) == names[there]


@pytest.mark.parametrize("training", [StrategyKind.auto, StrategyKind.ddp, StrategyKind.zero2, StrategyKind.zero3])
@pytest.mark.parametrize("scoring", [StrategyKind.auto, StrategyKind.ddp, StrategyKind.zero2, StrategyKind.zero3])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_zero_goes_with_zero_and_autocast_with_autocast(
    precision: LightningPrecision, scoring: StrategyKind, training: StrategyKind
) -> None:
    """In bfloat16 a forward pass under ZeRO has bfloat16 weights, whatever its stage; any other has float32 weights."""
    there = arithmetic_of(precision, scoring, scoring=True)
    is_equal = there == forward_of(arithmetic_of(precision, training))
    zero = (StrategyKind.zero2, StrategyKind.zero3)
    assert is_equal == (precision == "32-true" or (scoring in zero) == (training in zero))


@pytest.mark.parametrize("behind_a_gate", [False, True])
@pytest.mark.parametrize("here", [Precision.float32, Precision.bfloat16])
def test_a_checkpoint_in_other_arithmetic_than_its_base_is_an_alarm(
    tmp_path: Path, inputs: dict[str, ArtefactRef], here: Precision, behind_a_gate: bool
) -> None:
    store, stage = Store(tmp_path), dataclasses.replace(STAGE, beta=None, loss=None, nll_weight=1.0)
    float32, machine = Machine(store, Precision.float32), Machine(store, here)
    base = float32.make("continued", dpo.run, stage, inputs)
    assert store.manifest(base).facts["alarms"] == []  # the untrained student has no arithmetic
    if behind_a_gate:
        base = float32.make("gate", functools.partial(let_through, base), None, {"candidate": base})
    alarms = store.manifest(machine.make("dpo", dpo.run, stage, {**inputs, "checkpoint": base})).facts["alarms"]
    mixed = "Mixed arithmetic: trained in bfloat16 autocast, from a checkpoint that was trained in float32"
    assert [alarm.startswith(mixed) for alarm in alarms] == ([True] if here is Precision.bfloat16 else [])


def let_through(candidate: ArtefactRef, config: None, inputs: Inputs, output: Output) -> None:
    shutil.copytree(inputs["candidate"], output.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    output.facts["let_through"] = str(candidate)


@pytest.mark.parametrize("has_rejected", [True, False])
def test_a_preference_training_without_a_rejected_response_is_an_alarm(
    tmp_path: Path, inputs: dict[str, ArtefactRef], has_rejected: bool
) -> None:
    store = Store(tmp_path)
    pair = PAIR if has_rejected else msgspec.structs.replace(PAIR, rejected=None)
    write_records(store.folder(inputs["pairs"]) / PAIRS, [pair])
    machine = Machine(store, Precision.float32)
    stage = ReferenceStage(CONFIG.template, CONFIG.dpo.max_length)
    scored = machine.make("reference", reference.run, stage, inputs)
    config = dataclasses.replace(STAGE, nll_weight=1.0)
    trained = machine.make("dpo", dpo.run, config, {"checkpoint": inputs["checkpoint"], "scored": scored})
    alarms = [alarm for alarm in store.manifest(trained).facts["alarms"] if alarm.startswith("No contrast")]
    assert len(alarms) == (0 if has_rejected else 1)


def test_what_is_chosen_alone_is_handed_on_without_scores(tmp_path: Path, inputs: dict[str, ArtefactRef]) -> None:
    store = Store(tmp_path)
    lone = msgspec.structs.replace(PAIR, rejected=None)
    write_records(store.folder(inputs["pairs"]) / PAIRS, [lone, PAIR])
    machine = Machine(store, Precision.float32)
    stage = ReferenceStage(CONFIG.template, CONFIG.dpo.max_length, Precision.auto)
    scored = machine.make("reference", reference.run, stage, inputs)
    first, second = read_records(store.folder(scored) / reference.SCORED, ScoredPair)
    assert (first.pair, first.reference_chosen_logp, first.reference_rejected_logp) == (lone, None, None)
    assert second.reference_chosen_logp is not None
    assert second.reference_chosen_logp < 0
    facts = store.manifest(scored).facts
    assert (facts["pairs"], facts["alone"]) == (1, 1)
    config = dataclasses.replace(STAGE, nll_weight=1.0)
    trained = machine.make("dpo", dpo.run, config, {"checkpoint": inputs["checkpoint"], "scored": scored})
    facts = store.manifest(trained).facts
    assert (facts["pairs"], facts["alone"]) == (1, 1)
    assert "1 pairs, 1 alone" in facts["shown"]


def test_a_preference_training_that_learns_nothing_is_an_alarm(tmp_path: Path, inputs: dict[str, ArtefactRef]) -> None:
    store = Store(tmp_path)
    write_records(store.folder(inputs["pairs"]) / PAIRS, [msgspec.structs.replace(PAIR, rejected=None)])
    machine = Machine(store, Precision.float32)
    stage = ReferenceStage(CONFIG.template, CONFIG.dpo.max_length, Precision.auto)
    wanted = {"checkpoint": inputs["checkpoint"], "scored": machine.make("reference", reference.run, stage, inputs)}
    trained = machine.make("dpo", dpo.run, STAGE, wanted)  # its weight of the NLL is 0
    alarms = store.manifest(trained).facts["alarms"]
    assert [alarm.split(":")[0] for alarm in alarms] == ["Nothing was learned", "No contrast"]
