import ast
import shutil
from pathlib import Path

import msgspec
import pytest

import medcritical
from medcritical.reporting import trail
from medcritical.reporting.summary import LedgerEntry, gather, read_summary
from medcritical.reporting.trail import joined, read_iterations, without_rewound
from medcritical.store import Costs


@pytest.fixture
def results(finished_run):
    return gather([(finished_run, read_summary(finished_run / "summary.json"))])


@pytest.mark.parametrize(("stage", "name"), [("results", "METRICS"), ("pair", "QUALITY"), ("play", "CORRECTIONS")])
def test_file_names_are_those_that_the_stages_write(stage, name):
    """Read from the source: importing these stages would load torch."""
    path = Path(medcritical.__file__).parent / "stages" / f"{stage}.py"
    assigned = {
        target.id: constant.value
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for targets, values in [_sides(node)]
        for target, constant in zip(targets, values, strict=True)
        if isinstance(constant, ast.Constant)
    }
    assert assigned[name] == getattr(trail, name)


def _sides(node):
    """Names and values of `A = a` and of `A, B = a, b`."""
    (target,) = node.targets
    return (target.elts, node.value.elts) if isinstance(target, ast.Tuple) else ([target], [node.value])


def test_stage_1_has_its_passes_and_an_iteration_its_own_training_alone(results):
    sft, dpo = read_iterations(results)
    assert [training.artefact for training in sft.trainings] == ["sft/1", "sft/2"]
    assert [training.artefact for training in dpo.trainings] == ["dpo/1"]
    assert (sft.pairs, sft.play, dict(sft.quality), sft.alarms) == (None, None, {}, [])
    assert (dpo.pairs, dpo.play, dpo.quality["pairs"]) == ("pair/1", "play/1", 4)
    assert dpo.alarms == [("play/1", "Format collapse."), ("dpo/1", "Early saturation.")]


def test_behind_a_gate_stands_what_was_trained_let_through_or_not(finished_run, results, store_artefact):
    """One that rolled back to stage 1, and an iteration after it whose loop has stopped."""
    store, dpo = finished_run.parent / "store", results.rows[1].artefact
    store_artefact(store, "gate/1", {"candidate": "dpo/1", "best": "sft/2"}, {})
    store_artefact(store, "play/2", {"policy": "gate/1"}, {})
    store_artefact(store, "pair/2", {"play": "play/2"}, {})
    store_artefact(store, "dpo/2", {"pairs": "pair/2", "checkpoint": "gate/1"}, {})
    store_artefact(store, "gate/2", {"candidate": "dpo/2", "best": "gate/1"}, {})
    summary = read_summary(finished_run / "summary.json")
    later = msgspec.structs.replace(summary.rows[1], iteration=2, artefact="score/later")
    made = (*summary.lineage[dpo], "gate/1")
    lineage = {**summary.lineage, dpo: made, later.artefact: (*made, "play/2", "pair/2", "dpo/2", "gate/2")}
    ledger = {name: LedgerEntry(stage=name.split("/")[0], costs=Costs()) for name in lineage[later.artefact]}
    gated = msgspec.structs.replace(summary, rows=(*summary.rows, later), lineage=lineage, ledger=ledger)
    _, first, second = read_iterations(gather([(finished_run, gated)]))
    assert ([training.artefact for training in first.trainings], first.quality["pairs"]) == (["dpo/1"], 4)
    assert (second.trainings, second.pairs, dict(second.quality), second.alarms) == ((), "pair/2", {}, [])


def test_steps_that_were_done_again_count_once(results):
    sft, _ = read_iterations(results)
    assert [row["step"] for row in sft.trainings[1].rows] == [1, 2, 3]
    rows = [{"step": step, "run": run} for run, steps in enumerate(([1, 5, 9], [5, 9, 10])) for step in steps]
    assert [(row["step"], row["run"]) for row in without_rewound(rows)] == [(1, 0), (5, 1), (9, 1), (10, 1)]


def test_a_resumed_training_gives_the_curve_of_an_uninterrupted_one():
    whole = [{"step": step, "train/loss": 1 / step} for step in range(1, 9)]
    assert without_rewound([*whole[:6], *whole[3:]]) == whole


def test_trainings_in_turn_are_one_curve():
    first = [{"step": 1, "tokens": 10, "x": 1.0}, {"step": 4, "tokens": 40, "x": 2.0}]
    assert joined([(1, first), (2, [{"step": 2, "tokens": 5, "x": 3.0}])]) == [
        {"step": 1, "tokens": 10, "x": 1.0, "iteration": 1},
        {"step": 4, "tokens": 40, "x": 2.0, "iteration": 1},
        {"step": 6, "tokens": 45, "x": 3.0, "iteration": 2},
    ]


def test_what_left_the_store_is_missing_and_nothing_else(finished_run):
    for name in ("pair", "sft"):
        shutil.rmtree(finished_run.parent / "store" / name)
    results = gather([(finished_run, read_summary(finished_run / "summary.json"))])
    sft, dpo = read_iterations(results)
    assert sft.trainings == ()
    assert [training.artefact for training in dpo.trainings] == ["dpo/1"]
    assert (dpo.pairs, dict(dpo.quality), dpo.corrections) == ("pair/1", {}, None)
