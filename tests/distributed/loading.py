"""Loads a checkpoint of adapters in parts, and says how far the whole of each weight is from what one process loads.

torchrun ... loading.py CHECKPOINT FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from medcritical.config.choices import StrategyKind
from medcritical.modeling.checkpoint import load_checkpoint
from medcritical.training.ranks import join_ranks, leave_ranks
from medcritical.training.strategies import sharded_loading


def main(checkpoint: Path, folder: Path) -> None:
    """Both precisions: under ZeRO 3 weights are bfloat16 where the arithmetic is."""
    ranks, found = join_ranks(torch.device("cpu"), timeout_seconds=60), {}
    import deepspeed

    whole = load_checkpoint(checkpoint, dtype=torch.float32).model
    for precision, dtype in (("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)):
        shards = sharded_loading(StrategyKind.zero3, torch.device("cpu"), precision)  # type: ignore[arg-type]
        model = load_checkpoint(checkpoint, dtype=torch.float32, shards=shards).model
        named = dict(model.named_parameters())
        is_cut_up = all(hasattr(weight, "ds_id") and weight.numel() == 0 for weight in named.values())
        with deepspeed.zero.GatheredParameters(list(named.values())):
            expected = {name: weight.to(dtype) for name, weight in whole.named_parameters()}
            is_equal = {name: torch.equal(weight, expected[name]) for name, weight in named.items()}
        found[precision] = {"cut up": is_cut_up, "equal": is_equal, "names": sorted(expected)}
    (folder / f"{ranks.rank}.json").write_text(json.dumps(found), encoding="utf-8")
    leave_ranks()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
