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
import statistics
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
from medcritical.config.choices import Precision
from medcritical.config.schema import Config
from medcritical.errors import ConfigError, MedCriticalError
from medcritical.modeling.checkpoint import Student
from results import REPOSITORY, versions
from sides import Recipe, our_dpo, our_sft, score_groups
from workload import chosen_examples, smollm2_config

RESULTS = REPOSITORY / "benchmarks" / "results" / "gpu.json"

STEPS = 4
"""Optimizer steps of a training. Both sides' own clocks are read, which start with the first step: Lightning brings the
model back to the CPU after each training, and that is not what a step costs."""

Run = Callable[[], float]
"""Trains, and returns the wall seconds of a step."""

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bfloat16 FLOP/s of NVIDIA's data sheets (SXM parts), by a part of the device's name."""


@dataclass(frozen=True)
class Setting:
    """What a side may choose: its micro-batch, in tokens for ours and in pairs or examples for TRL, and recomputing."""

    micro: int
    is_checkpointed: bool


class SideResult(msgspec.Struct, frozen=True):
    """One side: real tokens per second and model FLOPs utilisation (None: unknown device), both of the median turn, peak
    bytes, what it chose, and every turn: real tokens of a step, and seconds per step."""

    tokens_per_second: float
    utilisation: float | None
    peak_bytes: int
    micro: int
    is_checkpointed: bool
    tokens: int
    seconds: list[float]


class GpuCase(msgspec.Struct, frozen=True):
    """`ratio`: the peer's wall seconds per token divided by ours; `memory_ratio`: ours divided by the peer's, None on a
    CPU."""

    name: str
    ratio: float
    memory_ratio: float | None
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
    config: Config, name: str, sizes: Sizes, task: Task, load: Load, device: str, peak: float | None, turns: int
) -> GpuCase:
    """Each side by itself: two models of 7 billion weights and their activations do not share one device's memory."""
    lora = config.student.lora
    assert lora is not None
    shape = Shape.of(Qwen2Config(**sizes))

    def measure_side(make: Callable[..., Run], micros: Sequence[int], *, is_ours: bool) -> SideResult:
        def build(setting: Setting) -> Run:
            return make(config, random_student(sizes, device), task, setting, device)

        setting = fastest([Setting(micro, saves) for saves, micro in itertools.product((False, True), micros)], build)
        seconds, peak_bytes = time_turns(build(setting), device, turns)
        flops = task.flops(shape, lora.rank, is_shared=is_ours)
        middle = statistics.median(seconds)
        return SideResult(
            tokens_per_second=round(task.num_tokens / middle, 1),
            utilisation=None if peak is None else round(utilisation(flops, middle, peak), 3),
            peak_bytes=peak_bytes,
            micro=setting.micro,
            is_checkpointed=setting.is_checkpointed,
            tokens=task.num_tokens,
            seconds=seconds,
        )

    ours = measure_side(make_ours, load.micro_tokens, is_ours=True)
    theirs = measure_side(make_theirs, load.micros, is_ours=False)
    speed = round(ours.tokens_per_second / theirs.tokens_per_second, 3)
    memory = round(ours.peak_bytes / theirs.peak_bytes, 3) if device == "cuda" else None
    return GpuCase(name, speed, memory, ours, theirs)


def fastest(settings: Sequence[Setting], build: Callable[[Setting], Run]) -> Setting:
    """The setting that fits in memory and takes least time in its second run; the first compiles.

    Raises:
        MedCriticalError: none fits.
    """
    timed = [(setting, _time_setting(setting, build)) for setting in settings]
    seconds = {setting: time for setting, time in timed if time is not None}
    if not seconds:
        raise MedCriticalError("no setting of one side fits in this device's memory")
    return min(seconds, key=lambda setting: seconds[setting])


def _time_setting(setting: Setting, build: Callable[[Setting], Run]) -> float | None:
    """Seconds per step of the second run; None where it does not fit in memory. Holds nothing when it returns."""
    try:
        run = build(setting)
        run()
        return run()
    except torch.OutOfMemoryError:
        return None
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def time_turns(run: Run, device: str, turns: int) -> tuple[list[float], int]:
    """Seconds per step of the runs after a first one, and the most bytes that tensors took in these; 0 on a CPU."""
    run()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = [round(run(), 4) for _ in range(turns)]
    return seconds, torch.cuda.max_memory_allocated() if device == "cuda" else 0


def _recipe(config: Config, task: Task, setting: Setting, device: str) -> Recipe:
    return Recipe(
        lora=config.student.lora,
        batch_size=sum(1 if task.is_sft else len(group.rejected_ids) for group in task.groups),
        steps=STEPS,
        micro=setting.micro,
        precision=Precision.bfloat16,
        is_cuda=device == "cuda",
        is_checkpointed=setting.is_checkpointed,
    )


def make_ours(config: Config, student: Student, task: Task, setting: Setting, device: str) -> Run:
    """Our training on packed rows of at most `setting.micro` tokens."""
    recipe = _recipe(config, task, setting, device)
    trainer = replace(config.trainer, micro_batch_tokens=setting.micro, gradient_checkpointing=setting.is_checkpointed)
    config = replace(config, trainer=trainer)
    pairs = None if task.is_sft else score_groups(config, student, task.groups, recipe)
    model, pad_id = recipe.model(student), student.tokenizer.pad_token_id

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            metrics = Path(folder) / "metrics.jsonl"
            if pairs is None:
                result = our_sft(config, model, pad_id, chosen_examples(task.groups), recipe, metrics)
            else:
                result = our_dpo(config, model, pad_id, pairs, recipe, metrics)
        return result.seconds / STEPS

    return run


def make_theirs(config: Config, student: Student, task: Task, setting: Setting, device: str) -> Run:
    """TRL's trainer with its best kernels."""
    from trl_peer import trl_dpo, trl_sft

    recipe = _recipe(config, task, setting, device)
    chosen = peer_settings(device)
    student.model.set_attn_implementation(chosen["attention"])
    liger = {"use_liger_kernel": chosen["layers"] == "Liger"}
    if task.is_sft:
        trainer = trl_sft(student, chosen_examples(task.groups), recipe, max_length=None, **liger)
    else:
        trainer = trl_dpo(student, task.groups, recipe, precompute_ref_log_probs=True, **liger)

    def run() -> float:
        seconds: float = trainer.train().metrics["train_runtime"]
        return seconds / STEPS

    return run


def peer_settings(device: str) -> dict[str, str]:
    """TRL's attention and layers: the best of what is installed."""

    def has(package: str) -> bool:
        return device == "cuda" and importlib.util.find_spec(package) is not None

    return {
        "attention": "flash_attention_2" if has("flash_attn") else "sdpa",
        "layers": "Liger" if has("liger_kernel") else "transformers",
    }


if __name__ == "__main__":
    main()
