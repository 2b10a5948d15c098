"""A worker that is told to stop does, even where Python throws the KeyboardInterrupt away."""

import os
import signal
import time
from pathlib import Path

import pytest
from toy_runs import interrupt_toy

from medcritical.pipeline.worker import Interruption


class Finalised:
    """Interrupts its process when it goes: what its finaliser raises, Python prints and ignores."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # the handler runs between two of these instructions


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_finaliser_loses_is_not_forgotten() -> None:
    before, interruption = signal.getsignal(signal.SIGINT), Interruption()
    try:
        interruption.heed()
        interruption.check()
        item = Finalised()
        del item  # raises nothing
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.timeout(90)  # a worker that goes on is killed after cluster.stop_seconds: 120
@pytest.mark.parametrize("after", ["stage 1 ", "stage 1, second pass"])
def test_ctrl_c_just_after_a_training_ends_the_run(tmp_path: Path, after: str) -> None:
    status, said = interrupt_toy(tmp_path, f"sft       {after}.* steps", signal.SIGINT, delay=0.0)
    assert status == 130, said
