"""Packed and padded rows of models that ZeRO 3 has cut up: all that trainings do to a model, but no optimizer.

    torchrun ... parity.py CASES.json FOLDER

leaves `<rank>.json` in FOLDER: for every case how far log-probabilities and gradients are apart.
"""

import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from packed_rows import build, gradients, sequences, with_adapters
from torch import Tensor, nn

from medcritical.batching import Example, collate_examples, pack_row, pad_rows
from medcritical.batching.collate import Layout
from medcritical.config.choices import StrategyKind
from medcritical.modeling.packed import base_model, packed
from medcritical.training.modules import ScoringModule
from medcritical.training.ranks import join_ranks, leave_ranks
from medcritical.training.strategies import keep_whole, sharded_loading

CONFIG = {
    "train_micro_batch_size_per_gpu": 1,
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
}

Passes = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Parity:
    """A model whose rows are compared."""

    kind: str
    is_adapted: bool
    recomputes: bool
    is_tied: bool = False
    dtype: str = "float64"

    def __str__(self) -> str:
        """A name for pytest."""
        shape = "lora" if self.is_adapted else "full"
        return "-".join([self.kind, shape, *["recomputing"] * self.recomputes, *["tied"] * self.is_tied, self.dtype])


@dataclass(frozen=True)
class Distance:
    """Largest distance of log-probabilities, nats, and of the gradients of a weight, relative to their norm."""

    logps: float
    gradients: float
    dtype: str


def passes(model: nn.Module, layout: Layout, rank: int) -> Passes:
    """Log-probabilities of this rank's responses, not the other's, and gradients of a weighted sum of them."""
    examples = [Example(prompt, response) for prompt, response in sequences()][rank:]
    batch = collate_examples(examples, layout=layout, normaliser=1)
    logps_B = ScoringModule(model).response_logps(batch)[0][batch.learned_B]
    (logps_B * torch.linspace(-1, 2, len(examples), dtype=logps_B.dtype)).sum().backward()
    return logps_B.detach(), gradients(model)


def distance(ours: Passes, theirs: Passes) -> Distance:
    """How far two results are apart, which must have the same gradients, none of them zero."""
    (our_logps, our_gradients), (their_logps, their_gradients) = ours, theirs
    assert our_gradients.keys() == their_gradients.keys()
    return Distance(
        float((our_logps - their_logps).abs().max()),
        max(float((our_gradients[name] - g).norm() / g.norm()) for name, g in their_gradients.items()),
        str(our_logps.dtype),
    )


def cut_up(model: nn.Module) -> None:
    """Gives every rank its part of every weight; DeepSpeed's hooks put them together around each module's passes."""
    import deepspeed

    engine, *_ = deepspeed.initialize(model=model, model_parameters=[], config=CONFIG)
    assert all(parameter.numel() == 0 for parameter in model.parameters())
    keep_whole(model, engine.optimizer)


def compare(case: Parity, rank: int) -> dict[str, Distance]:
    """Of the cut-up model, packed from padded rows; and its packed rows from padded ones of the model before."""
    model = build(case.kind, tie_word_embeddings=case.is_tied)
    model = (with_adapters(model) if case.is_adapted else model).to(getattr(torch, case.dtype)).train()
    pad = partial(pad_rows, pad_id=0)
    before = passes(model, pad, rank)
    assert before[1].keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    cut_up(model)
    if case.recomputes:
        base_model(model).activation_checkpointing_enable({"use_reentrant": False})
    padded = passes(model, pad, rank)
    with packed(model):
        ours = passes(model, pack_row, rank)
    return {"padded": distance(ours, padded), "whole": distance(ours, before)}


def main(cases: Path, folder: Path) -> None:
    """All cases, by all ranks."""
    ranks = join_ranks(torch.device("cpu"), timeout_seconds=60)
    with sharded_loading(StrategyKind.zero3, torch.device("cpu"), "32-true"):
        pass  # tells DeepSpeed that this is a CPU
    found = []
    for values in json.loads(cases.read_text(encoding="utf-8")):
        case = Parity(**values)
        print(case, flush=True)
        found.append({name: asdict(value) for name, value in compare(case, ranks.rank).items()})
    (folder / f"{ranks.rank}.json").write_text(json.dumps(found), encoding="utf-8")
    leave_ranks()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
