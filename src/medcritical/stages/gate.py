"""gate: a trained policy and the best before it, with their dev scores -> the checkpoint that the loop goes on from.

The artefact is a checkpoint like any other, so that stages after it need not know of gates. Its files are links to those of
the policy that was let through. `gate.json` holds the decision; `best/` the best checkpoint so far where that is another one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from medcritical.config.stages import GateStage
from medcritical.modeling.record import ADAPTER_CONFIG, RECORD_FILE, copy_record
from medcritical.records import Score
from medcritical.selfplay.promotion import GateState, decide
from medcritical.stages.context import STOPPED, Inputs, Output
from medcritical.stages.results import SCORE
from medcritical.store import read_json, write_json
from medcritical.store.artefact import MANIFEST

GATE, BEST = "gate.json", "best"


def run(config: GateStage, inputs: Inputs, output: Output) -> None:
    """Decide, and link the checkpoints.

    Facts: the decision, the best accuracy, iterations since the last promotion, the artefacts of the trainings whose weights
    are let through and are the best.
    """
    before = _state(inputs)
    if inputs.manifest("candidate").facts.get(STOPPED):
        state, shown = msgspec.structs.replace(before, decision="stop"), "the loop has stopped before"
    else:
        accuracy = read_json(inputs["score"] / SCORE, Score).accuracy
        state = decide(config.gate, before, accuracy)
        shown = f"{state.decision}: dev accuracy {accuracy:.1%}, best before {before.best:.1%}"
    is_through = state.decision in ("promote", "keep")
    former = inputs["best"]
    best = former / BEST if (former / BEST).is_dir() else former
    _link(inputs["candidate"] if is_through else best, output.folder)
    if state.decision == "keep":
        _link(best, output.folder / BEST)
    best_training = inputs.manifest("best").facts.get("best_training", str(inputs.refs["best"]))
    let_through = str(inputs.refs["candidate"]) if is_through else best_training
    write_json(output.folder / GATE, state)
    output.facts.update(decision=state.decision, best=state.best, waiting=state.waiting, let_through=let_through)
    output.facts["best_training"] = let_through if state.decision == "promote" else best_training
    output.facts["shown"] = [shown]


def has_stopped(checkpoint: Path) -> bool:
    """True when the loop that made this checkpoint has stopped with it."""
    path = checkpoint / GATE
    return path.is_file() and read_json(path, GateState).decision == "stop"


def _state(inputs: Inputs) -> GateState:
    """What the gate before this one left behind; before the first, the stage-1 model is the best."""
    if (inputs["best"] / GATE).is_file():
        return read_json(inputs["best"] / GATE, GateState)
    return GateState(decision="promote", best=read_json(inputs["best_score"] / SCORE, Score).accuracy, waiting=0)


def _link(source: Path, target: Path) -> None:
    """The checkpoint in `source` again in `target`, by links where the disk can, without what belongs to its artefact."""
    own = shutil.ignore_patterns(MANIFEST, GATE, BEST, RECORD_FILE, ADAPTER_CONFIG)
    shutil.copytree(source, target, ignore=own, copy_function=_link_or_copy, dirs_exist_ok=True)
    copy_record(source, target)  # what names an adapter's base from where it lies


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
