"""Batches laid out by hand, in both layouts."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medcritical.batching import (
    Example,
    PackedRow,
    PaddedRows,
    PairExample,
    Question,
    collate_examples,
    collate_pairs,
    pack_row,
    pad_rows,
)
from medcritical.batching.rows import packed_tokens
from medcritical.errors import DataError

padded = partial(pad_rows, pad_id=0)
PAIRS = [
    PairExample([5], [6, 7], [8], -1.5, -2.5),
    PairExample([4, 5], [6], None, None, None, weight=0.5),
    PairExample([5], [9], [9, 9, 9], -4.5, -5.5),
]


def test_examples_are_padded_on_the_right_and_prompts_are_no_targets() -> None:
    batch = collate_examples([Example([5, 6], [7]), Example([5], [8, 9, 2])], layout=padded, normaliser=4)
    assert isinstance(batch.rows, PaddedRows)
    assert batch.rows.input_ids_RT.tolist() == [[5, 6, 7, 0], [5, 8, 9, 2]]
    assert batch.rows.labels_RT.tolist() == [[-100, -100, 7, -100], [-100, 8, 9, 2]]
    assert batch.learned_B.tolist() == [0, 1]
    assert (batch.num_tokens, batch.normaliser) == (7, 4)


def test_a_response_may_hold_the_padding_token() -> None:
    rows, _ = padded([([5], [0, 7])])
    assert rows.labels_RT.tolist() == [[-100, 0, 7]]


def test_padded_pairs_are_chosen_rows_then_rejected_rows() -> None:
    batch = collate_pairs(PAIRS, layout=padded, normaliser=3)
    assert isinstance(batch.rows, PaddedRows)
    assert batch.rows.input_ids_RT.tolist() == [[5, 6, 7, 0], [4, 5, 6, 0], [5, 9, 0, 0], [5, 8, 0, 0], [5, 9, 9, 9]]
    assert batch.rows.labels_RT[1].tolist() == [-100, -100, 6, -100]
    assert (batch.chosen_B.tolist(), batch.rejected_C.tolist()) == ([0, 1, 2], [3, 4])
    assert batch.contrasted_C.tolist() == [0, 2]
    assert batch.reference_chosen_logps_C.tolist() == [-1.5, -4.5]
    assert batch.reference_rejected_logps_C.tolist() == [-2.5, -5.5]
    assert batch.weights_B.tolist() == [1, 0.5, 1]
    assert batch.num_tokens == 3 + 3 + 2 + 2 + 4


def test_packed_pairs_share_the_prompt() -> None:
    batch = collate_pairs(PAIRS, layout=pack_row, normaliser=3)
    row = batch.rows
    assert isinstance(row, PackedRow)
    #                                    question 5: four responses             question 4 5
    assert row.input_ids_1T.tolist() == [[5, 6, 7, 9, 8, 9, 9, 9, 4, 5, 6]]
    assert row.position_ids_1T.tolist() == [[0, 1, 2, 1, 1, 1, 2, 3, 0, 1, 2]]
    assert row.questions == (Question(0, 1, (2, 1, 1, 3)), Question(8, 2, (1,)))
    assert row.targets_N.tolist() == [6, 7, 9, 8, 9, 9, 9, 6]
    assert row.predicted_by_N.tolist() == [0, 1, 0, 0, 0, 5, 6, 9]
    assert row.sequence_N.tolist() == [0, 0, 1, 2, 3, 3, 3, 4]
    assert row.lengths_S.tolist() == [2, 1, 1, 3, 1]
    assert (batch.chosen_B.tolist(), batch.rejected_C.tolist()) == ([0, 4, 1], [2, 3])
    assert batch.num_tokens == 3 + 3 + 2 + 2 + 4  # whatever is shared


def test_a_response_that_several_pairs_use_is_there_once() -> None:
    pairs = [PairExample([5], [6, 7], [8], 0.0, 0.0), PairExample([5], [6, 7], [8, 9], 0.0, 0.0)]
    pairs.append(PairExample([5], [8], [6, 7], 0.0, 0.0))  # chosen and rejected elsewhere
    batch = collate_pairs(pairs, layout=pack_row, normaliser=3)
    assert isinstance(batch.rows, PackedRow)
    assert batch.rows.lengths_S.tolist() == [2, 1, 2]
    assert (batch.chosen_B.tolist(), batch.rejected_C.tolist()) == ([0, 0, 1], [1, 2, 0])


some_ids = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@given(sequences=st.lists(st.tuples(some_ids, some_ids), min_size=1, max_size=12))
def test_a_packed_row_holds_every_sequence_once(sequences: list[tuple[list[int], list[int]]]) -> None:
    row, found = pack_row(sequences)
    assert row.input_ids_1T.shape == row.position_ids_1T.shape == (1, packed_tokens(sequences))
    assert row.questions[-1].stop == row.input_ids_1T.shape[1]
    assert len(row.lengths_S) == len({(tuple(prompt), tuple(response)) for prompt, response in sequences})
    ids, positions = row.input_ids_1T[0].tolist(), row.position_ids_1T[0].tolist()
    for (prompt, response), sequence in zip(sequences, found, strict=True):
        own = row.sequence_N == sequence
        assert row.targets_N[own].tolist() == response
        predicted_by = row.predicted_by_N[own].tolist()
        assert [ids[place] for place in predicted_by] == [prompt[-1], *response[:-1]]
        assert [positions[place] for place in predicted_by] == list(
            range(len(prompt) - 1, len(prompt) + len(response) - 1)
        )
    for question in row.questions:
        assert positions[question.start : question.start + question.prompt] == list(range(question.prompt))


@pytest.mark.parametrize("layout", [padded, pack_row])
def test_pairs_without_any_rejected_have_no_rejected_sequence(layout: Any) -> None:
    batch = collate_pairs([PairExample([5], [6], None, None, None)], layout=layout, normaliser=1)
    assert batch.contrasted_C.dtype == batch.rejected_C.dtype == torch.int64
    assert len(batch.reference_rejected_logps_C) == len(batch.rejected_C) == 0


@pytest.mark.parametrize("layout", [padded, pack_row])
def test_to_moves_every_tensor(layout: Any) -> None:
    batch = collate_pairs([PairExample([5], [6], [7], -1.0, -2.0)], layout=layout, normaliser=1).to("meta")
    held = [*vars(batch).values(), *vars(batch.rows).values()]
    assert {value.device.type for value in held if isinstance(value, torch.Tensor)} == {"meta"}
    assert batch.num_tokens == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: Example([], [1]),
        lambda: Example([1], []),
        lambda: PairExample([1], [], None, None, None),
        lambda: PairExample([1], [2], [], 0.0, 0.0),
        lambda: PairExample([1], [2], [3], 0.0, None),
        lambda: PairExample([1], [2], None, 0.0, 0.0),
        lambda: PairExample([1], [2], None, 0.0, None),
        lambda: PairExample([1], [2], [3], 0.0, 0.0, weight=0.0),
    ],
)
def test_examples_that_cannot_be_scored_are_refused(make: Any) -> None:
    with pytest.raises(DataError):
        make()


def test_lengths() -> None:
    assert Example([1, 2], [3]).length == 3
    assert PairExample([1, 2], [3], [4, 5, 6], 0.0, 0.0).length == 5
    assert PairExample([1, 2], [3], None, None, None).length == 3
