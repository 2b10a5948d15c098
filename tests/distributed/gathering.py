"""How much memory the ranks of a ZeRO 3 training need to put its weights together and write them.

    torchrun ... gathering.py STUDENT FOLDER

leaves `<rank>.json` in FOLDER: bytes of the whole model, and by how many the rank grew at most while it gathered and saved.
"""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
import trainings
from transformers import AutoTokenizer

from medcritical.modeling.checkpoint import save_trained
from medcritical.training import callbacks
from medcritical.training.ranks import join_ranks, leave_ranks

PROCESS = psutil.Process()


def growth_of(work: Callable[[], Any]) -> tuple[Any, int]:
    """What `work` returns, and by how many bytes this process grew at most while it ran."""
    before, largest, over = PROCESS.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal largest
        while not over.wait(0.001):
            largest = max(largest, PROCESS.memory_info().rss - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return work(), max(largest, PROCESS.memory_info().rss - before)
    finally:
        over.set()
        thread.join()


def main(student: Path, folder: Path) -> None:
    """Train one step, and measure."""
    ranks, grown, gather = join_ranks(torch.device("cpu"), timeout_seconds=60), {}, callbacks.gather_weights

    def measured(*arguments: Any) -> Any:
        weights, grown["gathering"] = growth_of(lambda: gather(*arguments))
        return weights

    callbacks.gather_weights = measured
    case = trainings.Case("big", strategy="zero3", steps=1)
    result, _, model = trainings.train(student, case, ranks, folder / "m.jsonl")
    if ranks.is_first:
        tokenizer = AutoTokenizer.from_pretrained(student / "model")
        save = lambda: save_trained(folder / "checkpoint", student, model, tokenizer, result.weights)  # noqa: E731
        _, grown["saving"] = growth_of(save)
        grown["model"] = sum(weight.nbytes for weight in {id(w): w for w in result.weights.values()}.values())
    (folder / f"{ranks.rank}.json").write_text(json.dumps(grown), encoding="utf-8")
    leave_ranks()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
