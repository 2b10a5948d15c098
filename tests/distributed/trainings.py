"""Trainings of a tiny student, described by plain values so that every process makes the same ones.

    torchrun ... trainings.py CASES.json FOLDER

trains every case with all ranks and leaves `<name>.json` (metric rows, scores, facts) and `<name>.pt` (weights) in FOLDER.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from medcritical.batching import Example, PairExample
from medcritical.config.choices import Accelerator, Batching, Length, Loss, Precision, Schedule, StrategyKind
from medcritical.config.schema import LoraConfig, LossConfig, OptimConfig, TrainerConfig
from medcritical.errors import TrainingStopped
from medcritical.modeling.checkpoint import load_checkpoint, save_trained
from medcritical.modeling.lora import add_lora
from medcritical.training import Launch, TrainingResult, score_responses, train_dpo, train_sft
from medcritical.training.ranks import Ranks, current_ranks, from_first_rank, join_ranks, leave_ranks
from medcritical.training.resume import Recovery
from medcritical.training.strategies import ZeroStrategy, sharded_loading

PAD, VOCABULARY = 0, 61


@dataclass(frozen=True)
class Case:
    """One training. `stop_after`: it is told to stop in that optimizer step, and a second one goes on.

    `from_everywhere`: it saves after every step, and goes on again from what lay on the disk before each change to it.
    """

    name: str
    strategy: str = "auto"
    objective: str = "sft"
    lora: bool = False
    precision: str = "float32"
    batching: str = "packed"
    accumulates: bool = False
    max_grad_norm: float = 0.3
    steps: int = 6
    stop_after: int | None = None
    dropout: float = 0.0
    recomputes: bool = False
    from_everywhere: bool = False


def optim_of(case: Case) -> OptimConfig:
    """Warm-up, decay and clipping, so that each of them is seen."""
    return OptimConfig(
        learning_rate=3e-3,
        schedule=Schedule.cosine,
        warmup_steps=2,
        final_rate=0.1,
        weight_decay=0.01,
        batch_size=8,
        epochs=None,
        steps=case.steps,
        max_grad_norm=case.max_grad_norm,
        max_length=64,
        adam_beta1=0.9,
        adam_beta2=0.98,
        adam_epsilon=1e-8,
    )


def trainer_of(case: Case) -> TrainerConfig:
    """One thread on a CPU."""
    return TrainerConfig(
        accelerator=Accelerator.cpu,
        precision=Precision(case.precision),
        threads=1,
        batching=Batching(case.batching),
        micro_batch_tokens=48 if case.accumulates else 4096,
        micro_batch_size=2 if case.accumulates else 8,
        gradient_checkpointing=case.recomputes,
        log_every_n_steps=1,
        checkpoint_every_steps=None,
        time_limit=None,
        records_per_file=50_000,
    )


def make_examples(number: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompt, chosen and rejected token ids of various lengths."""
    numbers = torch.Generator().manual_seed(3)

    def ids(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (), generator=numbers))
        return [int(i) for i in torch.randint(3, VOCABULARY, (length,), generator=numbers)]

    return [(ids(2, 9), [*ids(1, 14), 2], [*ids(1, 14), 2]) for _ in range(number)]


def load_model(folder: Path, case: Case) -> Any:
    """The student, cut up from the start under ZeRO 3, with its adapter after that."""
    kind = StrategyKind(case.strategy)
    precision = "bf16-mixed" if case.precision == "bfloat16" else "32-true"
    shards = sharded_loading(kind, torch.device("cpu"), precision)
    model = load_checkpoint(folder, dtype=torch.float32, shards=shards).model
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = case.dropout
    return add_lora(model, LoraConfig(rank=4, alpha=8, targets="all-linear"), seed=7) if case.lora else model


def train(
    folder: Path,
    case: Case,
    ranks: Ranks,
    metrics: Path,
    recovery: Recovery | None = None,
    stop_after: int | None = None,
    how: signal.Signals = signal.SIGTERM,
) -> tuple[TrainingResult, list[float], Any]:
    """Trains one case; the result, the reference's scores for preference training, and the model."""
    launch = Launch(StrategyKind(case.strategy), ranks, recovery)
    rows, trainer, scores = make_examples(20), trainer_of(case), []

    def progress(done: int, total: int, metrics: Any) -> None:
        if done == stop_after:
            os.kill(os.getpid(), how)

    arguments: dict[str, Any] = {
        "steps": case.steps,
        "seed": 11,
        "metrics_path": metrics,
        "on_progress": progress,
        "launch": launch,
    }
    if case.objective == "sft":
        examples = [Example(prompt, chosen) for prompt, chosen, _ in rows]
        model = load_model(folder, case)
        return train_sft(model, PAD, examples, optim_of(case), trainer, **arguments), [], model
    responses = [Example(prompt, ids) for prompt, chosen, rejected in rows for ids in (chosen, rejected)]
    scores = score_responses(load_model(folder, case), PAD, responses, trainer, lambda *_: None, launch)
    pairs = [
        PairExample(prompt, chosen, rejected, scores[2 * i], scores[2 * i + 1])
        for i, (prompt, chosen, rejected) in enumerate(rows)
    ]
    model = load_model(folder, case)
    result = train_dpo(
        model,
        PAD,
        pairs,
        optim_of(case),
        trainer,
        beta=0.2,
        nll_weight=0.5,
        loss=LossConfig(loss=Loss.sigmoid, length=Length.sum, label_smoothing=0.0, positive_weight=None),
        contrast=True,
        starts_at_reference=True,
        **arguments,
    )
    return result, scores, model


def is_cut_up(model: Any) -> bool:
    """True when this rank holds a part of every weight that the student came with."""
    return all(hasattr(p, "ds_shape") and p.numel() == 0 for name, p in model.named_parameters() if "lora" not in name)


def largest_b(model: Any) -> float | None:
    """The largest number in any adapter's B, of a model just loaded; None without adapters. All of B must be there."""
    weights = [weight for name, weight in model.named_parameters() if "lora_B" in name]
    assert all(weight.numel() for weight in weights)
    return max((float(weight.abs().max()) for weight in weights), default=None)


def make_case(student: Path, case: Case, ranks: Ranks, folder: Path) -> None:
    """Trains a case, with its stop if it has one, and leaves what came of it."""
    metrics = folder / f"{case.name}.jsonl"
    recovery, told = None, []
    if case.stop_after is not None:
        recovery = Recovery(folder / f"{case.name}.checkpoints", tell=told.append)
        try:
            train(student, case, ranks, metrics, recovery, case.stop_after)
        except TrainingStopped as stopped:
            told.append(str(stopped))
        else:
            raise AssertionError(f"{case.name} did not stop")
    if case.from_everywhere:
        recovery = Recovery(folder / f"{case.name}.checkpoints", every_steps=1, tell=told.append)
    loaded = load_model(student, case)
    facts = {"cut up": is_cut_up(loaded), "largest B": largest_b(loaded)}
    with copied_before_changes(folder / case.name, ranks) if case.from_everywhere else nullcontext():
        result, scores, model = train(student, case, ranks, metrics, recovery)
    if case.from_everywhere:
        facts["went on from"] = go_on_from_everywhere(student, case, ranks, folder / case.name, metrics, result)
    if ranks.is_first:
        tokenizer = AutoTokenizer.from_pretrained(student / "model")
        save_trained(folder / f"{case.name}.checkpoint", student, model, tokenizer, result.weights)
        outcome = {"rows": rows_in(metrics), "scores": scores, "told": told, "tokens": result.trained_tokens, **facts}
        torch.save({name: weight.clone() for name, weight in result.weights.items()}, folder / f"{case.name}.pt")
        (folder / f"{case.name}.json").write_text(json.dumps(outcome), encoding="utf-8")


def rows_in(metrics: Path) -> list[dict[str, float]]:
    """The metric rows of a training."""
    return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]


CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")


@contextmanager
def copied_before_changes(copies: Path, ranks: Ranks) -> Iterator[None]:
    """Within it rank 0 copies all checkpoints to `copies`/N before the N-th change that it makes to them.

    That is what a kill of all ranks at that moment would leave behind.
    """
    is_on, seen = ranks.is_first, 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_on, seen
        is_write = event == "open" and isinstance(arguments[1], str) and arguments[1].strip("b") in ("w", "x", "w+")
        place = str(arguments[0]) if arguments else ""
        if is_on and (event in CHANGES or is_write) and place.startswith(f"{copies}.checkpoints"):
            is_on = False  # copying makes changes, too
            seen += 1
            with suppress(FileNotFoundError, shutil.Error):  # what another rank is just renaming
                shutil.copytree(f"{copies}.checkpoints", copies / str(seen), dirs_exist_ok=True)
            is_on = True

    sys.addaudithook(watch)
    yield
    is_on = False


def go_on_from_everywhere(
    student: Path, case: Case, ranks: Ranks, copies: Path, metrics: Path, whole: TrainingResult
) -> list[int]:
    """Trains on from every copy; the steps that these began after. Fails where rows or weights are not those of `whole`."""
    expected, began = [{**row, "seconds": 0} for row in rows_in(metrics)], []
    number = from_first_rank(len(list(copies.iterdir())) if ranks.is_first else 0)
    for copy in range(1, number + 1):
        told: list[str] = []
        again = copies.with_name(f"{copies.name}-again.jsonl")
        result, _, _ = train(student, case, ranks, again, Recovery(copies / str(copy), tell=told.append))
        if ranks.is_first:
            assert [{**row, "seconds": 0} for row in rows_in(again)] == expected, copy
            for name, weight in whole.weights.items():
                assert torch.equal(result.weights[name], weight), (copy, name)
            steps = [int(message.split()[-1].rstrip(".")) for message in told if "goes on" in message]
            began.append(steps[0] if steps else 0)
    return began


def cut_up_small_weights() -> None:
    """Makes ZeRO 3 cut up all weights of the body: it leaves those of up to 100,000 numbers whole, and these students have
    no others. Norms stay whole, as they would in a larger model."""
    make = ZeroStrategy.__init__

    def made(self: ZeroStrategy, *arguments: Any) -> None:
        make(self, *arguments)
        self.config["zero_optimization"]["stage3_param_persistence_threshold"] = 100

    ZeroStrategy.__init__ = made


def main(cases: Path, student: Path, folder: Path) -> None:
    """All cases, one after the other, by all ranks."""
    cut_up_small_weights()
    ranks = join_ranks(torch.device("cpu"), timeout_seconds=60) if current_ranks().size > 1 else Ranks()
    for values in json.loads(cases.read_text(encoding="utf-8")):
        print("case", values["name"], flush=True)
        make_case(student, Case(**values), ranks, folder)
    leave_ranks()


def write_cases(path: Path, cases: list[Case]) -> None:
    """Writes what `main` reads."""
    path.write_text(json.dumps([asdict(case) for case in cases]), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
