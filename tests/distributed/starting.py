"""Starts the trainings of `trainings.py`: by torchrun, or in this process."""

import os
import subprocess
import sys
from pathlib import Path

import trainings


def run_ranks(cases: list[trainings.Case], student: Path, folder: Path, number: int = 2) -> str:
    """Trains all cases by `number` ranks, in one start of torchrun; what they printed."""
    trainings.write_cases(folder / "cases", cases)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(number), "--standalone"),
        *(trainings.__file__, str(folder / "cases"), str(student), str(folder)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def run_alone(cases: list[trainings.Case], student: Path, folder: Path) -> None:
    """Trains all cases in this process."""
    for case in cases:
        trainings.make_case(student, case, trainings.Ranks(), folder)
