"""What a training imports."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["training.run", "stages.sft"])
def test_one_process_trains_without_deepspeed(module: str) -> None:
    """It is an extra, takes seconds to import, and asks the machine for compilers when it is."""
    code = f"import sys, medcritical.{module}; print('lightning' in sys.modules, 'deepspeed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["True", "False"]
