"""The gate over four iterations: whose weights the loop goes on from, and which training its facts and card name."""

from pathlib import Path

from configurations import configure
from medcritical.config.schema import GateConfig
from medcritical.config.stages import GateStage
from medcritical.modeling.record import Checkpoint, write_checkpoint
from medcritical.records import Score
from medcritical.reporting.card import write_card
from medcritical.stages import gate
from medcritical.stages.context import Inputs, Output
from medcritical.stages.results import SCORE
from medcritical.store import ArtefactRef, Costs, Store, write_json
from medcritical.store.hashing import hash_json

CONFIG = GateConfig(questions=None, min_gain=0.01, max_drop=0.05, patience=3)


def reference(name: str) -> ArtefactRef:
    return ArtefactRef(stage=name.split("/")[0], key=hash_json(name))


def train(store: Store, name: str, accuracy: float) -> None:
    """A training whose weights are its name, and its score on dev questions."""
    number = int(name[-1])
    with store.build(reference(name)) as folder:
        write_checkpoint(folder, Checkpoint(model="model"))
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text(name, encoding="utf-8")
        facts = {"steps": 10 + number, "formula": "sum"}
        store.complete(reference(name), version=1, config={"seed": number}, inputs={}, facts=facts, costs=Costs())
    score = Score(
        data="clinic", split="dev", num_questions=100, num_correct=round(100 * accuracy), num_unparsed=0, accuracy=accuracy,
        ci_low=0.0, ci_high=1.0, chance=0.25, commonest_letter="A", commonest_letter_accuracy=0.3, num_sound=None,
        mean_tokens=9.0,
    )  # fmt: skip
    with store.build(reference(f"evaluate/{number}")) as folder:
        write_json(folder / SCORE, score)
        store.complete(reference(f"evaluate/{number}"), version=1, config={}, inputs={}, facts={}, costs=Costs())


def let_through(store: Store, number: int, best: str) -> dict[str, object]:
    """The facts of a gate behind training `number`; `best` is the artefact that the iteration began with."""
    inputs = {
        "candidate": reference(f"dpo/{number}"),
        "score": reference(f"evaluate/{number}"),
        "best": reference(best),
    }
    if best.startswith("sft"):
        inputs["best_score"] = reference("evaluate/0")
    ref = reference(f"gate/{number}")
    with store.build(ref) as folder:
        output = Output(folder, configure().trainer, lambda *_: None)
        gate.run(GateStage(CONFIG), Inputs(store, inputs), output)
        store.complete(ref, version=1, config={}, inputs=inputs, facts=output.facts, costs=Costs())
    return output.facts


def test_weights_facts_and_card_name_the_same_training(tmp_path: Path) -> None:
    store, best = Store(tmp_path / "store"), "sft/0"
    train(store, best, 0.5)
    decided = [("promote", 1, 1), ("keep", 2, 1), ("roll_back", 1, 1), ("stop", 1, 1)]
    for number, (accuracy, (decision, through, best_training)) in enumerate(
        zip((0.6, 0.58, 0.4, 0.6), decided, strict=True), start=1
    ):
        train(store, f"dpo/{number}", accuracy)
        facts = let_through(store, number, best)
        best, folder = f"gate/{number}", store.folder(reference(f"gate/{number}"))
        assert facts["decision"] == decision
        assert facts["let_through"] == str(reference(f"dpo/{through}"))
        assert facts["best_training"] == str(reference(f"dpo/{best_training}"))
        assert (folder / "model" / "weights").read_text(encoding="utf-8") == f"dpo/{through}"
        assert (folder / gate.BEST).is_dir() == (decision == "keep")
        assert gate.has_stopped(folder) == (decision == "stop")
        write_card(tmp_path / "README.md", folder, [], is_adapter=False)
        assert f"- optimizer steps: {10 + through}\n" in (tmp_path / "README.md").read_text(encoding="utf-8")
