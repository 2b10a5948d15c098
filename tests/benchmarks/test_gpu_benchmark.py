"""The GPU benchmark without a GPU: refusals, its pure parts, the attention check, and once all of it on a toy."""

import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import torch

from medcritical.batching import Question
from medcritical.errors import MedCriticalError
from medcritical.modeling import block_attention

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


class Timed:
    """Runs that take the seconds given, or that memory runs out for, where they end."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = iter(seconds)
        self.itself = self  # a cycle, as trainers are

    def __call__(self) -> float:
        for seconds in self.seconds:
            return seconds
        raise torch.OutOfMemoryError


def test_the_fastest_setting_that_fits_is_taken_and_nothing_of_the_others_stays(load_script: LoadScript) -> None:
    gpu = load_script("gpu")
    large, medium, small = (gpu.Setting(micro, False) for micro in (4, 2, 1))
    runs = {large: [9.0], medium: [9.0, 1.0], small: [2.0, 3.0]}  # the first run compiles and does not count
    built: list[weakref.ref[Timed]] = []

    def build(setting: object) -> Callable[[], float]:
        assert not any(before() for before in built)
        run = Timed(runs[setting])
        built.append(weakref.ref(run))
        return run

    assert gpu.fastest([large, medium, small], build) == medium
    assert gpu.fastest([large], build) is None


def test_memory_that_runs_out_in_a_turn_ends_the_case_alone(load_script: LoadScript) -> None:
    gpu, results = load_script("gpu"), load_script("gpu_results")
    setting = gpu.Setting(2, False)
    assert gpu.time_turns(setting, lambda _: Timed([9.0, 2.0, 3.0]), "cpu", 2) == ([2.0, 3.0], 0)
    assert gpu.time_turns(setting, lambda _: Timed([9.0, 2.0]), "cpu", 2) is None
    side = results.SideResult(10.0, None, 0, 2, False, 20, [2.0])
    case = results.compare("7B", side, "out of memory")
    assert (case.ratio, case.memory_ratio) == (None, None)
    assert msgspec.json.decode(msgspec.json.encode(case), type=results.GpuCase) == case


def test_several_devices_are_refused(load_script: LoadScript, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = load_script("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(MedCriticalError, match=r"shows 8 devices .* set CUDA_VISIBLE_DEVICES to one"):
        gpu.require_device("cuda", is_tiny=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    gpu.require_device("cuda", is_tiny=False)


@pytest.fixture
def _everything_causal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A wrong mask: every token sees all before it."""

    def one_block(questions: Sequence[Question]) -> Iterator[block_attention.Block]:
        row = slice(0, questions[-1].stop)
        yield block_attention.Block(row, row)

    block_attention.block_groups.cache_clear()
    monkeypatch.setattr(block_attention, "attention_blocks", one_block)
    yield
    block_attention.block_groups.cache_clear()


def test_the_attention_check_passes_here(load_script: LoadScript) -> None:
    assert len(load_script("attention_check").check_attention("cpu")) == 8


@pytest.mark.usefixtures("_everything_causal")
def test_the_attention_checks_see_a_wrong_mask(load_script: LoadScript) -> None:
    check, config = load_script("attention_check"), load_script("workload").smollm2_config()
    with pytest.raises(MedCriticalError, match="packed rows on cpu are wrong: llama float32"):
        check.check_attention("cpu")
    with pytest.raises(MedCriticalError, match=r"packed rows on cpu are wrong: Qwen2.5-0.5B's heads.*gradients"):
        check.check_timed("cpu", config)


@pytest.mark.slow
def test_all_of_it_on_a_toy(load_script: LoadScript) -> None:
    pytest.importorskip("trl")
    gpu_results = load_script("gpu_results")
    done = run_script("--device", "cpu", "--tiny", "--turns", "1")
    assert done.returncode == 0, done.stderr
    results = msgspec.json.decode(done.stdout[done.stdout.index("\n{\n") :].encode(), type=gpu_results.GpuResults)
    assert [case.name for case in results.cases] == [
        "tiny, DPO LoRA, 1 pair per question",
        "tiny, DPO LoRA, 3 wrong x 1 correction",
        "tiny, SFT LoRA, completion only",
    ]
    assert len(results.attention) == 16
    for case in results.cases:
        assert case.ours.tokens == case.peer.tokens > 0
        assert case.ratio == pytest.approx(case.ours.tokens_per_second / case.peer.tokens_per_second, rel=0.01)
