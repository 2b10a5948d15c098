"""Cells of two ranks by every launcher: the launcher starts a process for a cell, and the cell its ranks."""

from pathlib import Path

import pytest
from toy_runs import SWEEP, Run, run, status_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CELLS = ["experiments=toy", "arm=dpo_self", "selfplay.iterations=1", "selfplay.beta=0.05,0.3"]
RANKS = ["cluster=torchrun", "cluster.nproc_per_node=2", "trainer.threads=1"]


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_cells_of_two_ranks(finished: tuple[Path, Run], tmp_path: Path, launcher: str) -> None:
    """Each cell's training ran on two ranks, as its manifest says, and stage 1 was taken from a run of one process."""
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher", reason="medcritical[launchers]")
    outputs = tmp_path / "outputs"
    command = [*SWEEP, *CELLS, *RANKS, f"hydra/launcher={launcher}", f"paths.outputs={outputs}"]
    ended = run(tmp_path, *command, store=finished[0] / "store", timeout=900)
    assert ended.code == 0, ended.err
    status = status_of(outputs)
    print(status)
