"""Batches laid out by hand."""

from typing import Any

import pytest
import torch

from medcritical.batching import Example, PairExample, collate_examples, collate_pairs
from medcritical.errors import DataError


def test_examples_are_padded_on_the_right_and_prompts_are_no_targets() -> None:
    batch = collate_examples([Example([5, 6], [7]), Example([5], [8, 9, 2])], pad_id=0, normaliser=4)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7, 0], [5, 8, 9, 2]]
    assert batch.labels_RT.tolist() == [[-100, -100, 7, -100], [-100, 8, 9, 2]]
    assert (batch.num_tokens, batch.normaliser) == (7, 4)


def test_a_response_may_hold_the_padding_token() -> None:
    batch = collate_examples([Example([5], [0, 7])], pad_id=0, normaliser=2)
    assert batch.labels_RT.tolist() == [[-100, 0, 7]]


def test_pairs_are_chosen_rows_then_rejected_rows() -> None:
    pairs = [
        PairExample([5], [6, 7], [8], -1.5, -2.5),
        PairExample([4, 5], [6], None, -3.5, None),
        PairExample([5], [9], [9, 9, 9], -4.5, -5.5),
    ]
    batch = collate_pairs(pairs, pad_id=0, normaliser=3)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7, 0], [4, 5, 6, 0], [5, 9, 0, 0], [5, 8, 0, 0], [5, 9, 9, 9]]
    assert batch.labels_RT[1].tolist() == [-100, -100, 6, -100]
    assert batch.contrasted_C.tolist() == [0, 2]
    assert batch.reference_chosen_logps_B.tolist() == [-1.5, -3.5, -4.5]
    assert batch.reference_rejected_logps_C.tolist() == [-2.5, -5.5]
    assert (batch.num_examples, batch.num_tokens) == (3, 3 + 3 + 2 + 2 + 4)


def test_pairs_without_any_rejected_have_no_rejected_row() -> None:
    batch = collate_pairs([PairExample([5], [6], None, -1.0, None)], pad_id=0, normaliser=1)
    assert batch.input_ids_RT.shape == (1, 2)
    assert batch.contrasted_C.dtype == torch.int64
    assert len(batch.reference_rejected_logps_C) == 0


def test_to_moves_every_tensor() -> None:
    batch = collate_pairs([PairExample([5], [6], [7], -1.0, -2.0)], pad_id=0, normaliser=1).to("meta")
    devices = {value.device.type for value in vars(batch).values() if isinstance(value, torch.Tensor)}
    assert devices == {"meta"}
    assert batch.num_tokens == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: Example([], [1]),
        lambda: Example([1], []),
        lambda: PairExample([1], [], None, 0.0, None),
        lambda: PairExample([1], [2], [], 0.0, 0.0),
        lambda: PairExample([1], [2], [3], 0.0, None),
        lambda: PairExample([1], [2], None, 0.0, 0.0),
    ],
)
def test_examples_that_cannot_be_scored_are_refused(make: Any) -> None:
    with pytest.raises(DataError):
        make()


def test_lengths() -> None:
    assert Example([1, 2], [3]).length == 3
    assert PairExample([1, 2], [3], [4, 5, 6], 0.0, 0.0).length == 5
    assert PairExample([1, 2], [3], None, 0.0, None).length == 3
