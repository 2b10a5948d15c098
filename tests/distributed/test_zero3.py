"""ZeRO 3, weights really cut up: packed rows equal padded ones, and the head is gathered once in an optimizer step."""

import json
import os
import sys
from dataclasses import asdict
from itertools import pairwise, product
from pathlib import Path

import counting
import parity
import pytest
from parity import Parity
from starting import start_ranks
from trainings import Case, write_cases

MODELS = [Parity(*values) for values in product(("llama", "qwen2"), (False, True), (False, True))]
MODELS += [Parity("qwen2", is_adapted, True, is_tied=True) for is_adapted in (False, True)]
MODELS += [Parity(kind, True, True, dtype="float32") for kind in ("llama", "qwen2")]
COUNTED = (
    Case("sft", strategy="zero3", accumulates=True),
    Case("dpo-lora", strategy="zero3", objective="dpo", lora=True, accumulates=True),
    Case("dpo-padded", strategy="zero3", objective="dpo", batching="padded", accumulates=True),
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    (folder / "cases").write_text(json.dumps([asdict(model) for model in MODELS]), encoding="utf-8")
    start_ranks(2, parity.__file__, str(folder / "cases"), str(folder), PYTHONPATH=os.pathsep.join(sys.path))
    return folder


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_packed_equals_padded(compared: Path, model: Parity) -> None:
    """And both what one process computes of the whole model, on each rank's own rows."""
    logp, gradient = (1e-10, 1e-9) if model.dtype == "float64" else (2e-4, 2e-4)
    for rank in (0, 1):
        found = json.loads((compared / f"{rank}.json").read_text(encoding="utf-8"))[MODELS.index(model)]
        assert set(found) == {"padded", "whole"}
        for distance in found.values():
            assert distance["dtype"] == f"torch.{model.dtype}"
            assert distance["logps"] <= logp
            assert distance["gradients"] <= gradient


@pytest.fixture(scope="module")
def counted(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counted")
    write_cases(folder / "cases", list(COUNTED))
    start_ranks(2, counting.__file__, str(folder / "cases"), str(student), str(folder))
    return folder


@pytest.mark.parametrize("case", COUNTED, ids=lambda case: case.name)
def test_the_head_is_gathered_once_in_a_step(counted: Path, case: Case) -> None:
    """Whatever its micro-batches; not in the first, in which DeepSpeed learns in which order modules run."""
    counts = json.loads((counted / f"{case.name}.json").read_text(encoding="utf-8"))
    in_a_step, rest = divmod(len(counts) - 1, case.steps)
    assert (in_a_step > 1, rest) == (True, 0)
    at_starts = counts[::in_a_step]
    assert [after - before for before, after in pairwise(at_starts[1:])] == [1] * (case.steps - 1)
