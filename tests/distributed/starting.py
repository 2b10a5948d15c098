"""Starts the trainings of `trainings.py`: by torchrun, or in this process."""

import os
import subprocess
import sys
from pathlib import Path

import trainings

PATIENCE = 880  # seconds; pytest's own limit is shorter for most tests


def run_ranks(cases: list[trainings.Case], student: Path, folder: Path, number: int = 2) -> str:
    """Trains all cases by `number` ranks, in one start of torchrun; what they printed."""
    trainings.write_cases(folder / "cases", cases)
    return start_ranks(number, trainings.__file__, str(folder / "cases"), str(student), str(folder))


def start_ranks(number: int, script: str, *arguments: str, **variables: str) -> str:
    """Runs a script by `number` ranks, with more environment variables; what they printed."""
    command = [*(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(number), "--standalone")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    ended = subprocess.run(
        [*command, script, *arguments], capture_output=True, text=True, env=environment, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def run_alone(cases: list[trainings.Case], student: Path, folder: Path) -> None:
    """Trains all cases in this process."""
    for case in cases:
        trainings.make_case(student, case, trainings.Ranks(), folder)
