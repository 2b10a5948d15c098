"""The two layouts of sequences for one forward pass: padded rows, and one packed row that shares prompts.

A sequence is a prompt with one response. Legend: R rows, T tokens, S sequences, N response tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medcritical.batching.examples import Ids
from medcritical.objectives import IGNORED

Sequences = Sequence[tuple[Ids, Ids]]
"""(prompt, response) each."""


@dataclass(frozen=True)
class PaddedRows:
    """One sequence per row, padded on the right to the longest.

    There is no attention mask: under a causal mask no real token sees what follows it, and without a mask of its own
    the model takes the fast causal attention kernel.

    Attributes:
        input_ids_RT: token ids, int64.
        labels_RT: token ids at response positions, `IGNORED` elsewhere.
    """

    input_ids_RT: Tensor
    labels_RT: Tensor

    def to(self, device: torch.device | str) -> PaddedRows:
        """These rows on `device`."""
        return PaddedRows(self.input_ids_RT.to(device), self.labels_RT.to(device))


@dataclass(frozen=True)
class Question:
    """Where a question is in a packed row: its prompt, then its responses one after the other; in tokens."""

    start: int
    prompt: int
    responses: tuple[int, ...]

    @property
    def stop(self) -> int:
        """The first position after it."""
        return self.start + self.prompt + sum(self.responses)


@dataclass(frozen=True)
class PackedRow:
    """Questions one after the other in a single row: each prompt once, then every response to it once.

    A response sees its prompt and itself, so that every sequence is computed as if it stood alone. Positions restart
    at the end of the prompt for each response. The first token of a response is predicted by the last of its prompt.

    Attributes:
        input_ids_1T: token ids, int64.
        position_ids_1T: position of each token in its own sequence.
        questions: who sees whom.
        predicted_by_N: index into T of the position that predicts each response token.
        targets_N: the response tokens.
        sequence_N: index into S of the sequence that each belongs to.
        lengths_S: response tokens of each sequence.
    """

    input_ids_1T: Tensor
    position_ids_1T: Tensor
    questions: tuple[Question, ...]
    predicted_by_N: Tensor
    targets_N: Tensor
    sequence_N: Tensor
    lengths_S: Tensor

    def to(self, device: torch.device | str) -> PackedRow:
        """This row on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


Rows = PaddedRows | PackedRow


def pad_rows(sequences: Sequences, pad_id: int) -> tuple[PaddedRows, list[int]]:
    """A row per sequence, and the row of each."""
    width = max(len(prompt) + len(response) for prompt, response in sequences)
    inputs, labels = [], []
    for prompt, response in sequences:
        padding = width - len(prompt) - len(response)
        inputs.append([*prompt, *response, *[pad_id] * padding])
        labels.append([*[IGNORED] * len(prompt), *response, *[IGNORED] * padding])
    return PaddedRows(torch.tensor(inputs), torch.tensor(labels)), list(range(len(sequences)))


def pack_row(sequences: Sequences) -> tuple[PackedRow, list[int]]:
    """One row that holds every distinct sequence once, and for each sequence given the index into S of its own."""
    shared = distinct_responses(sequences)
    ids: list[int] = []
    positions: list[int] = []
    predicted_by: list[int] = []
    questions, numbers = [], {}
    lengths: list[int] = []
    for prompt, responses in shared.items():
        start, end = len(ids), len(ids) + len(prompt)
        questions.append(Question(start, len(prompt), tuple(map(len, responses))))
        ids += prompt
        positions += range(len(prompt))
        for response in responses:
            numbers[prompt, response] = len(lengths)
            lengths.append(len(response))
            predicted_by += [end - 1, *range(len(ids), len(ids) + len(response) - 1)]
            ids += response
            positions += range(len(prompt), len(prompt) + len(response))
    lengths_S = torch.tensor(lengths)
    row = PackedRow(
        input_ids_1T=torch.tensor([ids]),
        position_ids_1T=torch.tensor([positions]),
        questions=tuple(questions),
        predicted_by_N=torch.tensor(predicted_by),
        targets_N=torch.tensor(
            [token for responses in shared.values() for response in responses for token in response]
        ),
        sequence_N=torch.repeat_interleave(torch.arange(len(lengths)), lengths_S),
        lengths_S=lengths_S,
    )
    return row, [numbers[tuple(prompt), tuple(response)] for prompt, response in sequences]


def distinct_responses(sequences: Iterable[tuple[Ids, Ids]]) -> dict[tuple[int, ...], dict[tuple[int, ...], None]]:
    """Every prompt with its distinct responses, both in the order in which they come first."""
    shared: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
    for prompt, response in sequences:
        shared.setdefault(tuple(prompt), {})[tuple(response)] = None
    return shared


def packed_tokens(sequences: Iterable[tuple[Ids, Ids]]) -> int:
    """Tokens of the row that `pack_row` makes of `sequences`."""
    return sum(len(prompt) + sum(map(len, responses)) for prompt, responses in distinct_responses(sequences).items())
