"""A SLURM for the tests of this folder, and a run without it that theirs are held against."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "pipeline"))  # for ranked_runs

from cells import TOY
from ranked_runs import PATIENCE, RANKS, start_command
from scheduler import Scheduler, reason_to_skip, scheduler


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    """A SLURM with two nodes, stopped with all its jobs."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with scheduler(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def by_torchrun(slurm: Scheduler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run by two ranks that torchrun has started."""
    root = tmp_path_factory.mktemp("by-torchrun")
    process = start_command(root, *RANKS, *TOY)
    told = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, told
    return root


@pytest.fixture
def begun(by_torchrun: Path, tmp_path: Path) -> Path:
    """A folder whose store has what one process makes before stage 1: the same for every launcher."""
    for stage in ("prepare", "student", "teach"):
        shutil.copytree(by_torchrun / "store" / stage, tmp_path / "store" / stage)
    return tmp_path
