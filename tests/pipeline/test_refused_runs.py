"""What is refused before the first stage of a run starts."""

from pathlib import Path

import pytest

from configurations import configure
from medcritical.errors import ConfigError
from medcritical.evaluation import explanations
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.run import Run, plan_run, prepare_run
from medcritical.pipeline.run_folder import run_folders


def test_a_package_that_a_late_stage_needs_is_missed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plan_run(
        configure("evaluation.explanation=true", f"paths.store={tmp_path}/store", f"paths.outputs={tmp_path}/outputs")
    )
    monkeypatch.setattr(explanations, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs sacrebleu and rouge_score: install medcritical\[explanation\]"):
        prepare_run(run, Pace(run.store))
    assert list(tmp_path.iterdir()) == []


def run_of(machine: int, root: Path) -> Run:
    ranks = ("cluster=torchrun", "cluster.nnodes=2", f"cluster.node_rank={machine}", "cluster.rdzv_endpoint=h:29500")
    return plan_run(configure(*ranks, f"paths.store={root}/store", f"paths.outputs={root}/outputs"))


def test_machines_that_share_their_outputs_do_not_wait_for_each_other(tmp_path: Path) -> None:
    first, second = (run_of(machine, tmp_path) for machine in (0, 1))
    for run in (first, second):
        prepare_run(run, Pace(run.store))
    with first.folder.hold():
        assert not second.folder.is_held()
    assert second.folder.path == first.folder.path / "machine-1"
    assert second.folder.name == first.folder.name
    for above in (tmp_path / "outputs", first.folder.path):
        assert [folder.path for folder in run_folders(above)] == [first.folder.path]
