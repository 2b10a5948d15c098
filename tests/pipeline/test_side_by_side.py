"""Real worker processes side by side: a failure stops the others, and leaves nothing half made."""

import dataclasses
import io
from pathlib import Path

import pytest

from configurations import configure
from medcritical.pipeline.execute import StageFailed
from medcritical.pipeline.plan import make_plan
from medcritical.pipeline.schedule import ParallelExecutor
from medcritical.pipeline.watch import Watcher
from medcritical.store import ArtefactRef, Store


def test_a_failure_ends_the_run_and_what_is_done_stays(tmp_path: Path) -> None:
    config = configure("arm=dpo_self", "data.sizes.train=400", "selfplay.questions=100", "data.sizes.test=5")
    prepare = make_plan(config, {}).calls[0]
    lost = {"checkpoint": ArtefactRef(stage="student", key="f" * 64), "questions": prepare.ref}
    answer = next(call for call in make_plan(config, {}).calls if call.ref.stage == "answer")
    broken = dataclasses.replace(answer, inputs=lost)
    executor = ParallelExecutor(tmp_path / "store", tmp_path, config, workers=2)
    calls, stream = [prepare, broken], io.StringIO()
    with pytest.raises(StageFailed, match=r"answer \(base\) failed: cannot read .*manifest.json") as failure:
        executor.execute(calls, Watcher(calls, 0, stream))
    assert failure.value.exit_code == 2
    store = Store(tmp_path / "store")
    assert store.is_complete(prepare.ref)
    assert not store.folder(broken.ref).exists()
    assert "[1/2] prepare" in stream.getvalue()
