"""Ours against TRL on a CUDA machine: LoRA DPO and SFT with the shapes of Qwen2.5-0.5B and 7B and random weights.

    python benchmarks/gpu.py                      # into benchmarks/results/gpu.json
    python benchmarks/gpu.py --device cpu --tiny  # every line of it on a toy, without a GPU; writes nothing

Both sides: frozen weights in bfloat16, adapters in float32, references computed before, and of the settings below that
fit in memory the fastest. TRL has its fused head, FlashAttention 2 where it is installed, else SDPA, and Liger's layers
where they are. First it is checked that the packed attention of this device computes what plain forward passes do.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import torch
from transformers import Qwen2Config

from attention_check import check_attention
from flops import Shape, utilisation
from gpu_work import FULL, SHAPES, TINY, TOY, Load, Sizes, Task, make_tasks, random_student
from measure import Effort, Work, time_work
from medcritical.config.choices import Precision
from medcritical.config.schema import Config
from medcritical.errors import ConfigError, MedCriticalError
from medcritical.modeling.checkpoint import Student
from results import REPOSITORY, versions
from sides import Recipe, our_dpo, our_sft, score_groups
from workload import chosen_examples, smollm2_config

RESULTS = REPOSITORY / "benchmarks" / "results" / "gpu.json"

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bfloat16 FLOP/s of NVIDIA's data sheets (SXM parts), by a part of the device's name."""


@dataclass(frozen=True)
class Setting:
    """What a side may choose: its micro-batch, in tokens for ours and in pairs or examples for TRL, and recomputing."""

    micro: int
    is_checkpointed: bool


class SideResult(msgspec.Struct, frozen=True):
    """Medians of one side: real tokens per second, model FLOPs utilisation (None: unknown device), peak bytes."""

    tokens_per_second: float
    utilisation: float | None
    peak_bytes: int
    micro: int
    is_checkpointed: bool
    turns: list[Effort]


class GpuCase(msgspec.Struct, frozen=True):
    """`ratio`: the peer's wall seconds per token divided by ours; `memory_ratio`: ours divided by the peer's."""

    name: str
    ratio: float
    memory_ratio: float
    ours: SideResult
    peer: SideResult


class GpuResults(msgspec.Struct, frozen=True):
    """What one CUDA machine measured. `attention`: largest differences of the packed path, by what was compared."""

    device: str
    versions: dict[str, str]
    peer_settings: dict[str, str]
    attention: dict[str, float]
    cases: list[GpuCase]


def main() -> None:
    """Check, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a toy in place of the two shapes; nothing is written")
    parser.add_argument("--turns", type=int, default=5, help="measured turns of each side (default 5)")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    options = parser.parse_args()
    try:
        require_device(options.device, is_tiny=options.tiny)
        shapes = {"tiny": TINY} if options.tiny else {name: SHAPES[name] for name in options.shapes}
        results = measure(options.device, shapes, TOY if options.tiny else FULL, options.turns)
    except MedCriticalError as error:
        sys.exit(str(error))
    written = msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"
    if not options.tiny:
        RESULTS.write_bytes(written)
    print(written.decode())


def require_device(device: str, *, is_tiny: bool) -> None:
    """Raise ConfigError where this cannot be measured."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "benchmarks/gpu.py measures a CUDA device and this machine has none; --device cpu --tiny runs it on a toy."
        )
    if device == "cpu" and not is_tiny:
        raise ConfigError("these shapes are for a CUDA device; with --device cpu give --tiny.")


def measure(device: str, shapes: dict[str, Sizes], load: Load, turns: int) -> GpuResults:
    """Every shape's three cases."""
    config = smollm2_config()
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    attention = check_attention(device)
    peak = next((rate for part, rate in PEAKS.items() if part in name), None)
    cases = [
        _measure_case(config, f"{shape_name}, {task.name}", shape, task, load, device, peak, turns)
        for shape_name, shape in shapes.items()
        for task in make_tasks(load, int(shape["vocab_size"]))
    ]
    return GpuResults(name, versions(), peer_settings(device), attention, cases)


def _measure_case(
    config: Config,
    name: str,
    sizes: Sizes,
    task: Task,
    load: Load,
    device: str,
    peak: float | None,
    turns: int,
) -> GpuCase:
    """Each side by itself: two models of 7 billion weights and their activations do not share one device's memory."""
    lora = config.student.lora
    assert lora is not None
    shape = Shape.of(Qwen2Config(**sizes))
    results = []
    for is_ours in (True, False):
        micros = load.micro_tokens if is_ours else load.micros
        make = make_ours if is_ours else make_theirs

        def build(setting: Setting, make: Callable[..., Work] = make) -> Work:
            return make(config, random_student(sizes, device), task, setting, device)

        setting = fastest([Setting(micro, saves) for saves, micro in itertools.product((False, True), micros)], build)
        efforts, peak_bytes = measure_side(build(setting), device, turns)
        seconds = sorted(effort.wall_seconds for effort in efforts)[len(efforts) // 2]
        flops = task.flops(shape, lora.rank, is_shared=is_ours)
        share = None if peak is None else round(utilisation(flops, seconds, peak), 3)
        rate = round(task.num_tokens / seconds, 1)
        results.append(SideResult(rate, share, peak_bytes, setting.micro, setting.is_checkpointed, efforts))
    ours, theirs = results
    speed = round(ours.tokens_per_second / theirs.tokens_per_second, 3)
    memory = round(ours.peak_bytes / theirs.peak_bytes, 3) if theirs.peak_bytes else 1.0
    return GpuCase(name, speed, memory, ours, theirs)


def fastest(settings: Sequence[Setting], build: Callable[[Setting], Work]) -> Setting:
    """The setting that fits in memory and takes least time in its second run; the first compiles.

    Raises:
        MedCriticalError: none fits.
    """
    timed = [(setting, _time_setting(setting, build)) for setting in settings]
    seconds = {setting: time for setting, time in timed if time is not None}
    if not seconds:
        raise MedCriticalError("no setting of one side fits in this device's memory")
    return min(seconds, key=lambda setting: seconds[setting])


def _time_setting(setting: Setting, build: Callable[[Setting], Work]) -> float | None:
    """Wall seconds of the second run; None where it does not fit in memory. Holds nothing when it returns."""
    try:
        work = build(setting)
        work()
        return time_work(work).wall_seconds
    except torch.OutOfMemoryError:
        return None
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measure_side(work: Work, device: str, turns: int) -> tuple[list[Effort], int]:
    """The measured turns after a first one, and the most bytes that tensors took at any time; 0 on a CPU."""
    work()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    efforts = [time_work(work) for _ in range(turns)]
    return efforts, torch.cuda.max_memory_allocated() if device == "cuda" else 0


def _recipe(config: Config, task: Task, setting: Setting, device: str) -> Recipe:
    return Recipe(
        lora=config.student.lora,
        batch_size=sum(1 if task.is_sft else len(group.rejected_ids) for group in task.groups),
        steps=1,
        micro=setting.micro,
        precision=Precision.bfloat16,
        is_cuda=device == "cuda",
        is_checkpointed=setting.is_checkpointed,
    )


def make_ours(config: Config, student: Student, task: Task, setting: Setting, device: str) -> Work:
    """One optimizer step of our training on packed rows of at most `setting.micro` tokens."""
    recipe = _recipe(config, task, setting, device)
    trainer = replace(config.trainer, micro_batch_tokens=setting.micro, gradient_checkpointing=setting.is_checkpointed)
    config = replace(config, trainer=trainer)
    pairs = None if task.is_sft else score_groups(config, student, task.groups, recipe)
    model, pad_id = recipe.model(student), student.tokenizer.pad_token_id

    def work() -> int:
        with tempfile.TemporaryDirectory() as folder:
            metrics = Path(folder) / "metrics.jsonl"
            if pairs is None:
                our_sft(config, model, pad_id, chosen_examples(task.groups), recipe, metrics)
            else:
                our_dpo(config, model, pad_id, pairs, recipe, metrics)
        _synchronize(device)
        return task.num_tokens

    return work


def make_theirs(config: Config, student: Student, task: Task, setting: Setting, device: str) -> Work:
    """One optimizer step of TRL's trainer with its best kernels."""
    from trl_peer import trl_dpo, trl_sft

    recipe = _recipe(config, task, setting, device)
    chosen = peer_settings(device)
    student.model.set_attn_implementation(chosen["attention"])
    liger = {"use_liger_kernel": chosen["layers"] == "Liger"}
    if task.is_sft:
        trainer = trl_sft(student, chosen_examples(task.groups), recipe, max_length=None, **liger)
    else:
        trainer = trl_dpo(student, task.groups, recipe, precompute_ref_log_probs=True, **liger)

    def work() -> int:
        trainer.train()
        _synchronize(device)
        return task.num_tokens

    return work


def peer_settings(device: str) -> dict[str, str]:
    """TRL's attention and layers: the best of what is installed."""

    def has(package: str) -> bool:
        return device == "cuda" and importlib.util.find_spec(package) is not None

    return {
        "attention": "flash_attention_2" if has("flash_attn") else "sdpa",
        "layers": "Liger" if has("liger_kernel") else "transformers",
    }


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
