"""What is refused before the first stage of a run starts."""

from pathlib import Path

import pytest

from configurations import configure
from medcritical.errors import ConfigError
from medcritical.evaluation import explanations
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.run import plan_run, prepare_run


def test_a_package_that_a_late_stage_needs_is_missed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plan_run(
        configure("evaluation.explanation=true", f"paths.store={tmp_path}/store", f"paths.outputs={tmp_path}/outputs")
    )
    monkeypatch.setattr(explanations, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs sacrebleu and rouge_score: install medcritical\[explanation\]"):
        prepare_run(run, Pace(run.store))
    assert list(tmp_path.iterdir()) == []
