"""The GPU benchmark without a GPU: refusals, its pure parts, the attention check, and once all of it on a toy."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import torch

from medcritical.errors import MedCriticalError

LoadScript = Callable[[str], ModuleType]
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def work(load_script: LoadScript) -> ModuleType:
    return load_script("gpu_work")


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)


def test_a_machine_without_cuda_is_refused_in_one_sentence() -> None:
    done = run_script()
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("benchmarks/gpu.py measures a CUDA device and this machine has none")
    assert "Traceback" not in done.stderr


def test_tokens_and_flops_of_a_task_by_hand(work: ModuleType, load_script: LoadScript) -> None:
    flops, workload = load_script("flops"), load_script("workload")
    group = workload.Group([1] * 10, [2] * 4, [[3] * 5, [4] * 6])
    shape = flops.Shape(1, 8, 8, 1, 1, 8, 20)
    dpo, sft = work.Task("dpo", [group], is_sft=False), work.Task("sft", [group], is_sft=True)
    # Two pairs: 2 * 10 + 4 + 5 and 2 * 10 + 4 + 6.
    assert (dpo.num_tokens, sft.num_tokens) == (59, 14)
    assert dpo.flops(shape, 2, is_shared=True) == flops.training_flops(shape, flops.count_shared(10, [4, 5, 6]), 2)
    assert dpo.flops(shape, 2, is_shared=False) == flops.training_flops(
        shape, flops.count_separate(10, [4, 5, 4, 6]), 2
    )
    assert sft.flops(shape, 2, is_shared=True) == sft.flops(shape, 2, is_shared=False)


def test_the_two_shapes_have_the_published_sizes(work: ModuleType, load_script: LoadScript) -> None:
    shape = load_script("flops").Shape
    body = {name: shape.of(work.Qwen2Config(**sizes)).body_weights / 1e9 for name, sizes in work.SHAPES.items()}
    # The model cards: 0.36 and 6.53 billion weights without embeddings.
    assert body == {"Qwen2.5-0.5B": pytest.approx(0.36, abs=0.005), "Qwen2.5-7B": pytest.approx(6.53, abs=0.01)}


def test_the_fastest_setting_that_fits_is_taken(load_script: LoadScript) -> None:
    gpu = load_script("gpu")
    large, medium, small = (gpu.Setting(micro, False) for micro in (4, 2, 1))
    runs = {medium: iter([9.0, 1.0]), small: iter([2.0, 3.0])}  # the first run compiles and does not count

    def build(setting: object) -> Callable[[], float]:
        if setting is large:
            raise torch.OutOfMemoryError
        return runs[setting].__next__

    assert gpu.fastest([large, medium, small], build) == medium
    with pytest.raises(MedCriticalError, match="fits"):
        gpu.fastest([large], build)


def test_the_attention_check_passes_here_and_sees_a_wrong_mask(
    load_script: LoadScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = load_script("attention_check")
    differences = check.check_attention("cpu")
    assert len(differences) == 8
    from medcritical.modeling import block_attention

    def everything_causal(questions: object) -> object:
        (last,) = [question.stop for question in questions][-1:]  # type: ignore[attr-defined]
        yield block_attention.Block(slice(0, last), slice(0, last))

    block_attention.block_groups.cache_clear()
    monkeypatch.setattr(block_attention, "attention_blocks", everything_causal)
    with pytest.raises(MedCriticalError, match="packed rows on cpu are wrong"):
        check.check_attention("cpu")
    block_attention.block_groups.cache_clear()  # what it has just made is wrong


@pytest.mark.slow
def test_all_of_it_on_a_toy(load_script: LoadScript) -> None:
    pytest.importorskip("trl")
    gpu = load_script("gpu")
    done = run_script("--device", "cpu", "--tiny", "--turns", "1")
    assert done.returncode == 0, done.stderr
    results = msgspec.json.decode(done.stdout[done.stdout.index("\n{\n") :].encode(), type=gpu.GpuResults)
    assert [case.name for case in results.cases] == [
        "tiny, DPO LoRA, 1 pair per question",
        "tiny, DPO LoRA, 3 wrong x 1 correction",
        "tiny, SFT LoRA, completion only",
    ]
    for case in results.cases:
        assert case.ours.tokens == case.peer.tokens > 0
        assert case.ratio == pytest.approx(case.ours.tokens_per_second / case.peer.tokens_per_second, rel=0.01)
