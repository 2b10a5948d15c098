"""From token ids to batches: which examples each optimizer step holds, and what one forward pass sees."""

from medcritical.batching.collate import Batch, PairBatch, SftBatch, collate_examples, collate_pairs
from medcritical.batching.examples import Example, PairExample
from medcritical.batching.rows import PackedRow, PaddedRows, Question, pack_row, pad_rows
from medcritical.batching.schedule import num_steps, step_batches

__all__ = [
    "Batch",
    "Example",
    "PackedRow",
    "PaddedRows",
    "PairBatch",
    "PairExample",
    "Question",
    "SftBatch",
    "collate_examples",
    "collate_pairs",
    "num_steps",
    "pack_row",
    "pad_rows",
    "step_batches",
]
