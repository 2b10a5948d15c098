"""From token ids to batches: which examples each optimizer step holds, and what one forward pass sees."""

from medcritical.batching.collate import (
    Example,
    PairBatch,
    PairCollate,
    PairExample,
    SftBatch,
    SftCollate,
    collate_examples,
    collate_pairs,
)
from medcritical.batching.schedule import num_steps, step_batches

__all__ = [
    "Example",
    "PairBatch",
    "PairCollate",
    "PairExample",
    "SftBatch",
    "SftCollate",
    "collate_examples",
    "collate_pairs",
    "num_steps",
    "step_batches",
]
