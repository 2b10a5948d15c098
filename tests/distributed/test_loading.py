"""A checkpoint of adapters under ZeRO 3: merged before it is cut up, so that every weight is the one that a process alone has."""

import json
from pathlib import Path

import loading
import pytest
import torch
from starting import start_ranks

from medcritical.config.schema import LoraConfig
from medcritical.modeling.checkpoint import load_checkpoint, save_trained
from medcritical.modeling.lora import add_lora


def train(source: Path, folder: Path, seed: int) -> Path:
    """Adapters with numbers in A and B over the checkpoint in `source`."""
    student = load_checkpoint(source, dtype=torch.float32)
    adapted, numbers = (
        add_lora(student.model, LoraConfig(2, 4, "all-linear"), seed),
        torch.Generator().manual_seed(seed),
    )
    with torch.no_grad():
        weights = {
            name: weight.copy_(torch.randn(weight.shape, generator=numbers))
            for name, weight in adapted.named_parameters()
            if weight.requires_grad
        }
    save_trained(folder, source, adapted, student.tokenizer, weights)
    return folder


@pytest.fixture(scope="module")
def found(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaded")
    second = train(train(student, folder / "sft", seed=1), folder / "dpo", seed=2)
    start_ranks(2, loading.__file__, str(second), str(folder))
    return folder


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("rank", [0, 1])
def test_weights_in_parts_are_those_of_one_process(found: Path, rank: int, precision: str) -> None:
    told = json.loads((found / f"{rank}.json").read_text(encoding="utf-8"))[precision]
    assert told["cut up"]
    assert sorted(told["equal"]) == told["names"]
    assert all(told["equal"].values()), [name for name, is_equal in told["equal"].items() if not is_equal]
