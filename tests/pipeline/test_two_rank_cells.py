"""Cells of two ranks by every launcher: the launcher starts a process for a cell, and the cell its ranks."""

import json
from pathlib import Path

import pytest
from toy_runs import SWEEP, Run, run, status_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

RANKS = ["cluster=torchrun", "cluster.nproc_per_node=2", "trainer.threads=1", "trainer.accelerator=cpu"]
BETAS = {
    "basic": "0.05,0.3",
    "joblib": "0.04,0.2",
    "submitit_local": "0.03,0.4",
}  # each launcher has trainings of its own


@pytest.mark.parametrize("launcher", BETAS)
def test_cells_of_two_ranks(finished: tuple[Path, Run], tmp_path: Path, launcher: str) -> None:
    """Each cell's training is made by two ranks; what comes before was made by one process, and is shared."""
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher", reason="medcritical[launchers]")
    store, outputs = finished[0] / "store", tmp_path / "outputs"
    command = [*SWEEP, "experiments=toy", "arm=dpo_self", "selfplay.iterations=1", f"selfplay.beta={BETAS[launcher]}"]
    before = set(store.glob("dpo/*/manifest.json"))
    ended = run(
        tmp_path, *command, *RANKS, f"hydra/launcher={launcher}", f"paths.outputs={outputs}", store=store, timeout=1200
    )
    assert ended.code == 0, ended.err
    assert ended.err.count("done: cell toy-") == 2
    status = status_of(outputs)
    assert (status["done"], status["stages_missing"]) == (2, {})
    assert (status["stages_executed"]["sft"], status["stages_executed"]["dpo"]) == (1, 2)
    made = [json.loads(path.read_bytes()) for path in set(store.glob("dpo/*/manifest.json")) - before]
    assert [manifest["facts"]["ranks"] for manifest in made] == [2, 2]
    assert {manifest["config"]["beta"] for manifest in made} == {float(beta) for beta in BETAS[launcher].split(",")}
