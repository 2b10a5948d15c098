"""Generating stages made by all ranks that torchrun starts, or by one process: one start for several calls.

    torchrun ... generations.py STORE CALLS.json FOLDER

leaves what stage number n writes in FOLDER/n, with its costs in FOLDER/n/costs.json. FOLDER/n.kept is what it keeps meanwhile.
"""

from __future__ import annotations

import importlib
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from chat_server import ChatServer
from medcritical.config.choices import Accelerator, Batching, Precision
from medcritical.config.schema import TrainerConfig
from medcritical.pipeline.worker import SLICES, CallFile
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import opener
from medcritical.stages.spread import run_spread
from medcritical.store import Store, read_json
from medcritical.training.ranks import join_ranks, leave_ranks

TRAINER = TrainerConfig(
    accelerator=Accelerator.cpu,
    precision=Precision.float32,
    threads=1,
    batching=Batching.packed,
    micro_batch_tokens=64,
    micro_batch_size=2,
    gradient_checkpointing=False,
    log_every_n_steps=1,
    checkpoint_every_steps=None,
    time_limit=None,
    records_per_file=40,
)


def make_stages(store: Path, calls: Path, folder: Path) -> None:
    """All calls, one after the other."""
    ranks = join_ranks(torch.device("cpu"), timeout_seconds=60)
    for number, call in enumerate(read_json(calls, list[CallFile])):
        print("call", number, call.ref.stage, flush=True)
        output = Output(
            folder / str(number) if ranks.is_first else folder / "nothing",
            TRAINER,
            lambda *_: None,
            checkpoints=folder / f"{number}.kept",
            timeout_seconds=60,
        )
        config, inputs = msgspec.convert(call.config, SLICES[call.ref.stage]), Inputs(Store(store), call.inputs)
        stage = importlib.import_module(f"medcritical.stages.{call.ref.stage}")
        run_spread(partial(stage.run, config, inputs, output), opener(inputs, output), ranks, timeout_seconds=60)
        if ranks.is_first:
            costs = msgspec.to_builtins(output.costs(0.0))
            (output.folder / "costs.json").write_text(json.dumps(costs), encoding="utf-8")
    leave_ranks()


def serve(port: int, log: Path) -> None:
    """Be a chat server for ever; every request is a line in a file of `log` with what the server knows of its place."""
    import os

    from chat_server import _handler, _Server, text_of

    about = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "RANK", "MASTER_ADDR")}

    def note(request: dict[str, Any], before: int) -> str:
        line = {"prompt": text_of(request), "n": request["n"], "gpus": sys.argv[3], **about}
        with (log / f"{port}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return ""

    _Server(("127.0.0.1", port), _handler(ChatServer(note))).serve_forever()


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        serve(int(sys.argv[1]), Path(sys.argv[2]))
    else:
        make_stages(*map(Path, sys.argv[1:]))
