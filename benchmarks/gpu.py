"""Ours against TRL on a CUDA machine: LoRA DPO and SFT with the shapes of Qwen2.5-0.5B and 7B and random weights.

    python benchmarks/gpu.py                      # into benchmarks/results/gpu.json
    python benchmarks/gpu.py --device cpu --tiny  # every line of it on a toy, without a GPU; writes nothing

Both sides: bfloat16 arithmetic, adapters in float32, references computed before, and of the settings below that fit in
memory the fastest. Our weights are loaded as float32, as the program does, and the training narrows frozen ones of linear
layers; TRL's are bfloat16, its better choice. TRL has its fused head, FlashAttention 2 where it is installed (and then no
padding in SFT), else SDPA, and Liger's layers where they are. First it is checked that the packed attention of this device
computes what plain forward passes do.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import Qwen2Config

from attention_check import check_attention, check_timed
from flops import Shape, utilisation
from gpu_results import RESULTS, GpuCase, GpuResults, SideResult, compare, encode, write
from gpu_work import FULL, SHAPES, TINY, TOY, Load, Sizes, Task, make_tasks, random_student
from medcritical.config.choices import Precision
from medcritical.config.schema import Config
from medcritical.errors import ConfigError, MedCriticalError
from medcritical.modeling.checkpoint import Student
from results import versions
from sides import Recipe, our_dpo, our_sft, score_groups
from workload import chosen_examples, smollm2_config

STEPS = 4
"""Optimizer steps of a training. Both sides' own clocks are read, which start with the first step: Lightning brings the
model back to the CPU after each training, and that is not what a step costs."""

Run = Callable[[], float]
"""Trains, and returns the wall seconds of a step."""

WEIGHTS = {True: torch.float32, False: torch.bfloat16}
"""Type of the weights, ours and the peer's, before a training: ours then makes the frozen ones of linear layers bfloat16."""

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bfloat16 FLOP/s of NVIDIA's data sheets (SXM parts), by a part of the device's name."""


@dataclass(frozen=True)
class Setting:
    """What a side may choose: its micro-batch, in tokens for ours and in pairs or examples for TRL, and recomputing."""

    micro: int
    is_checkpointed: bool


def main() -> None:
    """Check, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a toy in place of the two shapes; nothing is written")
    parser.add_argument("--turns", type=int, default=5, help="measured turns of each side (default 5)")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    options = parser.parse_args()
    shapes = {"tiny": TINY} if options.tiny else {name: SHAPES[name] for name in options.shapes}
    try:
        require_device(options.device, is_tiny=options.tiny)
        for results in measure(options.device, shapes, TOY if options.tiny else FULL, options.turns):
            if not options.tiny:
                write(results, RESULTS)
    except MedCriticalError as error:
        sys.exit(str(error))
    print(encode(results).decode())


def require_device(device: str, *, is_tiny: bool) -> None:
    """Raise ConfigError where this cannot be measured."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "benchmarks/gpu.py measures a CUDA device and this machine has none; --device cpu --tiny runs it on a toy."
        )
    if device == "cpu" and not is_tiny:
        raise ConfigError("these shapes are for a CUDA device; with --device cpu give --tiny.")
    if device == "cuda" and (number := torch.cuda.device_count()) > 1:
        raise ConfigError(
            f"CUDA shows {number} devices and TRL's side would spread over all of them: set CUDA_VISIBLE_DEVICES to one."
        )


def measure(device: str, shapes: dict[str, Sizes], load: Load, turns: int) -> Iterator[GpuResults]:
    """The results so far, after each of every shape's three cases: a long run that is stopped has those that it did."""
    config = smollm2_config()
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    attention = check_attention(device) | check_timed(device, config)
    peak = next((rate for part, rate in PEAKS.items() if part in name), None)
    cases: list[GpuCase] = []
    for shape_name, shape in shapes.items():
        for task in make_tasks(load, int(shape["vocab_size"])):
            case_name = f"{shape_name}, {task.name}"
            cases.append(_measure_case(config, case_name, shape, task, load, device, peak, turns))
            yield GpuResults(name, versions(), peer_settings(device), attention, list(cases))


def _measure_case(
    config: Config, name: str, sizes: Sizes, task: Task, load: Load, device: str, peak: float | None, turns: int
) -> GpuCase:
    """Each side by itself: two models of 7 billion weights and their activations do not share one device's memory."""
    lora = config.student.lora
    assert lora is not None
    shape = Shape.of(Qwen2Config(**sizes))

    def measure_side(make: Callable[..., Run], micros: Sequence[int], *, is_ours: bool) -> SideResult | str:
        def build(setting: Setting) -> Run:
            return make(config, random_student(sizes, device, WEIGHTS[is_ours]), task, setting, device)

        setting = fastest([Setting(micro, saves) for saves, micro in itertools.product((False, True), micros)], build)
        if setting is None:
            return "no setting fits in this device's memory"
        measured = time_turns(setting, build, device, turns)
        if measured is None:
            return f"out of memory while it was timed: {setting}"
        seconds, peak_bytes = measured
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
    return compare(name, ours, measure_side(make_theirs, load.micros, is_ours=False))


def fastest(settings: Sequence[Setting], build: Callable[[Setting], Run]) -> Setting | None:
    """The setting that takes least time in its second run, as the first compiles; None where none fits in memory."""
    timed = [(setting, _time_setting(setting, build)) for setting in settings]
    seconds = {setting: time for setting, time in timed if time is not None}
    return min(seconds, key=lambda setting: seconds[setting]) if seconds else None


def _time_setting(setting: Setting, build: Callable[[Setting], Run]) -> float | None:
    """Seconds per step of the second run; None where it does not fit in memory."""
    release_memory()
    try:
        run = build(setting)
        run()
        return run()
    except torch.OutOfMemoryError:
        return None


def time_turns(
    setting: Setting, build: Callable[[Setting], Run], device: str, turns: int
) -> tuple[list[float], int] | None:
    """Seconds per step of the runs after a first one, and the most bytes that tensors took in these, 0 on a CPU.

    None where memory ran out.
    """
    release_memory()
    try:
        run = build(setting)
        run()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = [round(run(), 4) for _ in range(turns)]
    except torch.OutOfMemoryError:
        return None
    return seconds, torch.cuda.max_memory_allocated() if device == "cuda" else 0


def release_memory() -> None:
    """Give back what the runs before held. Called when no frame of theirs is left: accelerate's wrappers and Lightning's
    modules are cycles, and an error keeps the frames it came through."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
        # Rows without padding need a kernel that keeps their sequences apart.
        unpadded = {"padding_free": chosen["attention"] == "flash_attention_2"}
        trainer = trl_sft(student, chosen_examples(task.groups), recipe, max_length=None, **unpadded, **liger)
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
