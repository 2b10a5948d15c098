"""Reference log-probabilities in other numbers than the policy's: who shares a store may have another device."""

import dataclasses
import re
from pathlib import Path

import msgspec
import pytest

from configurations import configure
from medcritical.config.choices import Match, Precision
from medcritical.config.schema import TrainerConfig
from medcritical.config.stages import DpoStage, ReferenceStage
from medcritical.errors import ConfigError
from medcritical.modeling.student import create_student
from medcritical.records import PreferencePair, Question
from medcritical.stages import dpo, reference
from medcritical.stages.context import Inputs, Output
from medcritical.stages.pair import PAIRS
from medcritical.store import ArtefactRef, Costs, Store, write_records

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
            self.store.complete(ref, version=1, config={}, inputs=inputs, facts=output.facts, costs=Costs())
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


@pytest.mark.parametrize("there", [Precision.float32, Precision.bfloat16])
def test_scores_in_other_numbers_are_refused_and_those_in_the_same_are_not(
    tmp_path: Path, inputs: dict[str, ArtefactRef], there: Precision
) -> None:
    store = Store(tmp_path)
    stage = ReferenceStage(CONFIG.template, CONFIG.dpo.max_length)
    scored = Machine(store, there).make("reference", reference.run, stage, inputs)
    assert store.manifest(scored).facts["precision"] == there.value
    (here,) = {Precision.float32, Precision.bfloat16} - {there}
    wanted = {"checkpoint": inputs["checkpoint"], "scored": scored}
    sentence = (
        f"{re.escape(str(store.folder(scored)))} holds .* computed in {there.value}, and training here .* {here.value}"
    )
    with pytest.raises(ConfigError, match=f"{sentence}.*set trainer.precision=.*or delete that folder"):
        Machine(store, here).make("dpo", dpo.run, STAGE, wanted)
    trained = Machine(store, there).make("dpo", dpo.run, STAGE, wanted)
    assert store.manifest(trained).facts["steps"] == 2


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
