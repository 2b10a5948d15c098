"""The base checkpoint, and with what it was made."""

from pathlib import Path

import pytest

from configurations import REAL, configure
from medcritical.config.stages import StudentStage
from medcritical.pipeline.plan import make_plan
from medcritical.stages import student
from medcritical.stages.context import Inputs, Output
from medcritical.store import Store


@pytest.mark.parametrize(
    ("source", "packages"),
    [
        ("package:packaged_weights/tiny.gguf", {"torch", "transformers", "gguf"}),
        ("org/model", {"torch", "transformers"}),
    ],
)
def test_a_packaged_student_is_read_by_gguf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, packages: set[str]
) -> None:
    config = configure(*REAL, f"student.source={source}")
    (stage,) = (call.config for call in make_plan(config, {}).calls if isinstance(call.config, StudentStage))
    monkeypatch.setattr(student, "create_student", lambda *_: {})
    output = Output(tmp_path, config.trainer, lambda *_: None)
    student.run(stage, Inputs(Store(tmp_path), {}), output)
    assert output.computed.packages == packages
