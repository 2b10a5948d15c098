"""The memory tables against published sizes and sums done by hand."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def memory(load_script: Callable[[str], ModuleType]) -> ModuleType:
    pytest.importorskip("deepspeed", reason="its estimators are asked: install medcritical[deepspeed]")
    return load_script("memory")


@pytest.mark.parametrize(
    ("name", "weights"),
    [("Qwen2.5-0.5B", 494_032_768), ("Qwen2.5-7B", 7_615_616_512), ("Qwen2.5-32B", 32_763_876_352)],
)
def test_models_have_as_many_weights_as_the_published_ones(memory: ModuleType, name: str, weights: int) -> None:
    count = memory.count_weights(memory.MODELS[name], None)
    assert count.all == count.trained == weights
    sizes = memory.MODELS[name]
    assert count.largest_layer == sizes["vocab_size"] * sizes["hidden_size"]


def test_adapters_alone_are_trained(memory: ModuleType) -> None:
    sizes = memory.MODELS["Qwen2.5-0.5B"]
    count = memory.count_weights(sizes, 8)
    width, inner, kv = 896, 4864, 128
    per_layer = 2 * (width + width) + 2 * (width + kv) + 3 * (width + inner)  # q, o; k, v; gate, up, down
    assert count.trained == 24 * 8 * per_layer
    assert count.frozen == 494_032_768
    kept = 151_936 * width + (2 * 24 + 1) * width  # embeddings, tied to the head, and norms
    assert count.narrowed == count.frozen - kept


@pytest.mark.parametrize(
    ("strategy", "bytes_"),
    [
        ("ddp", 16 * 800 + 4 * 50 + 2 * 150),
        ("zero1", 4 * 800 + 2 * 800 + 2 * 200),
        ("zero2", 2 * 800 + 18 * 100 + 2 * 200),
        ("zero3", 4 * 50 + 18 * 100 + 2 * 25),
        ("zero2_offload", 2 * 800 + 2 * 200),
        ("zero3_offload", 4 * 50),
    ],
)
def test_bytes_on_each_of_eight_gpus(memory: ModuleType, strategy: str, bytes_: int) -> None:
    count = memory.Count(all=1000, trained=800, largest_layer=50, narrowed=150)
    assert memory.gpu_bytes(strategy, count, 8) == bytes_


@pytest.mark.parametrize(("gpus", "copies"), [(1, 1), (8, 8), (64, 8)])
def test_every_rank_of_a_machine_loads_a_whole_model(memory: ModuleType, gpus: int, copies: int) -> None:
    count = memory.Count(all=1008, trained=8, largest_layer=50)
    assert memory.loading_bytes(count, gpus) == copies * 4 * 1000


def test_the_document_shows_what_the_command_prints(memory: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MODELS", {"Qwen2.5-0.5B": memory.MODELS["Qwen2.5-0.5B"]})  # the others take seconds
    document = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    assert "\n".join(memory.tables()) in document
