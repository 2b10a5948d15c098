"""How an optimizer step is cut into micro-batches, each one forward pass: by examples or by tokens.

Every step of a training has the same number of them. Gradient accumulation is then a constant, and so is the number of
micro-batches per process where the step is dealt out to several.
"""

from __future__ import annotations

from collections.abc import Sequence

from medcritical.batching.examples import AnyExample, prompt_key
from medcritical.batching.rows import packed_tokens
from medcritical.errors import TrainingError

Steps = Sequence[Sequence[int]]
"""Indices of examples per optimizer step."""

MicroBatches = list[list[list[int]]]
"""Indices of examples per optimizer step, per micro-batch."""


def cut_by_examples(steps: Steps, examples: Sequence[AnyExample], size: int, num_processes: int = 1) -> MicroBatches:
    """Micro-batches of `size` examples of similar length, the last ones smaller: for padded rows.

    A step is dealt out to the processes by length first, so that these have like work.

    Raises:
        TrainingError: the examples of a step cannot be dealt out evenly.
    """
    cut = []
    for step in steps:
        if len(step) % num_processes:
            raise TrainingError(
                f"a step of {len(step)} examples cannot be dealt out evenly to {num_processes} processes: make batch_size "
                f"a multiple of {num_processes}."
            )
        by_length = sorted(step, key=lambda index: examples[index].length)
        shares = [by_length[process::num_processes] for process in range(num_processes)]
        starts = range(0, len(shares[0]), size)
        cut.append([share[start : start + size] for start in starts for share in shares])
    return cut


def cut_by_tokens(
    steps: Steps, examples: Sequence[AnyExample], max_tokens: int, num_processes: int = 1
) -> MicroBatches:
    """Micro-batches of at most `max_tokens` tokens as packed rows, and of as equal size as can be.

    The examples of a question stay together, unless they are more than `max_tokens`: then the prompt is repeated. An
    example is never divided, as the loss of a pair needs both responses: a single one may be over the budget.
    All steps have as many micro-batches as the largest needs, and a multiple of `num_processes`.

    Raises:
        TrainingError: a step holds fewer examples than there are processes.
    """
    pieces = [_pieces(step, examples, max_tokens) for step in steps]
    most = min(map(len, steps)) // num_processes * num_processes
    if not most:
        raise TrainingError(
            f"a step of {min(map(len, steps))} examples cannot be dealt out to {num_processes} processes: raise batch_size."
        )
    needed = max(_num_bins(step, examples, max_tokens) for step in pieces)
    number = min(most, -(-needed // num_processes) * num_processes)
    return [_balance(_divide(step, number), examples, number)[0] for step in pieces]


def tokens_of(indices: Sequence[int], examples: Sequence[AnyExample]) -> int:
    """Tokens of the packed row of these examples."""
    return packed_tokens((examples[i].prompt_ids, response) for i in indices for response in examples[i].responses)


def _pieces(step: Sequence[int], examples: Sequence[AnyExample], max_tokens: int) -> list[list[int]]:
    """The examples of a step by question; a question that is over the budget in several pieces."""
    questions: dict[tuple[int, ...], list[list[int]]] = {}
    for index in step:
        pieces = questions.setdefault(prompt_key(examples[index]), [[]])
        if pieces[-1] and tokens_of([*pieces[-1], index], examples) > max_tokens:
            pieces.append([])
        pieces[-1].append(index)
    return [piece for pieces in questions.values() for piece in pieces]


def _num_bins(pieces: list[list[int]], examples: Sequence[AnyExample], max_tokens: int) -> int:
    """The fewest micro-batches that keep to the budget; what a lone piece exceeds it by is allowed."""
    sizes = [tokens_of(piece, examples) for piece in pieces]
    budget = max(max_tokens, *sizes)
    number = -(-sum(sizes) // budget)
    while _balance(pieces, examples, number)[1] > budget:
        number += 1
    return number


def _divide(pieces: list[list[int]], number: int) -> list[list[int]]:
    """At least `number` pieces: those of most examples are halved."""
    pieces = list(pieces)
    while len(pieces) < number:
        largest = max(pieces, key=len)
        pieces.remove(largest)
        half = len(largest) // 2
        pieces += [largest[:half], largest[half:]]
    return pieces


def _balance(pieces: list[list[int]], examples: Sequence[AnyExample], number: int) -> tuple[list[list[int]], int]:
    """The pieces dealt out to `number` micro-batches, largest first to the emptiest, and the size of the largest."""
    bins: list[list[int]] = [[] for _ in range(number)]
    sizes = [0] * number
    for size, piece in sorted(((tokens_of(piece, examples), piece) for piece in pieces), reverse=True):
        emptiest = sizes.index(min(sizes))
        bins[emptiest] += piece
        sizes[emptiest] += size
    return bins, max(sizes)


def fill_rows(examples: Sequence[AnyExample], max_tokens: int) -> list[list[int]]:
    """All examples in packed rows of at most `max_tokens`, each question in one where it fits, longest first."""
    pieces = _pieces(range(len(examples)), examples, max_tokens)
    rows: list[list[int]] = []
    filled = max_tokens
    for size, piece in sorted(((tokens_of(piece, examples), piece) for piece in pieces), reverse=True):
        if filled + size > max_tokens:
            rows.append([])
            filled = 0
        rows[-1] += piece
        filled += size
    return rows
