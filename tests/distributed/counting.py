"""How often ZeRO 3 gathers the output embedding of a student in training.

    torchrun ... counting.py CASES.json STUDENT FOLDER

leaves `<name>.json` in FOLDER: for every micro-batch how often it had been gathered before it, and at last in all.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import trainings
from torch.nn import Parameter

from medcritical.modeling.packed import base_model
from medcritical.training.modules import TrainingModule
from medcritical.training.ranks import join_ranks, leave_ranks
from medcritical.training.strategies import ZeroStrategy

START, STEP = ZeroStrategy.init_deepspeed, TrainingModule.training_step


def count_gathers(case: trainings.Case, student: Path, ranks: Any, folder: Path) -> list[int]:
    """Trains a case; every gathering of weights goes through one of two methods that DeepSpeed gives each of them."""
    number, before = 0, []

    def counting(gather: Callable[..., Any], weight: Parameter, head: Parameter) -> Callable[..., Any]:
        def gather_counted(weights: Sequence[Parameter] | None = None, *arguments: Any, **options: Any) -> Any:
            nonlocal number
            number += any(w is head and w.ds_status.name == "NOT_AVAILABLE" for w in weights or [weight])
            return gather(weights, *arguments, **options)

        return gather_counted

    def start(strategy: ZeroStrategy) -> None:
        START(strategy)
        model = strategy.lightning_module.model
        head = base_model(model).get_output_embeddings().weight
        for weight in model.parameters():
            for name in ("all_gather", "all_gather_coalesced"):
                setattr(weight, name, counting(getattr(weight, name), weight, head))

    def step(module: TrainingModule, *arguments: Any) -> Any:
        before.append(number)
        return STEP(module, *arguments)

    ZeroStrategy.init_deepspeed, TrainingModule.training_step = start, step
    trainings.train(student, case, ranks, folder / "metrics.jsonl")
    return [*before, number]


def main(cases: Path, student: Path, folder: Path) -> None:
    """All cases, by all ranks."""
    trainings.cut_up_small_weights()
    ranks = join_ranks(torch.device("cpu"), timeout_seconds=60)
    for values in json.loads(cases.read_text(encoding="utf-8")):
        case = trainings.Case(**values)
        counts = count_gathers(case, student, ranks, folder)
        if ranks.is_first:
            (folder / f"{case.name}.json").write_text(json.dumps(counts), encoding="utf-8")
    leave_ranks()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
