"""The data of one training: its micro-batches, in the order of the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from medcritical.batching import Batch
from medcritical.batching.collate import Layout
from medcritical.training.ranks import ALONE, Ranks

ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True)
class MicroBatch(Generic[ExampleT]):
    """The examples of one forward pass, and what the loss of their optimizer step is divided by."""

    examples: tuple[ExampleT, ...]
    normaliser: float


def micro_batches(
    examples: Sequence[ExampleT],
    order: Sequence[Sequence[Sequence[int]]],
    normaliser: Callable[[Sequence[ExampleT]], float],
    ranks: Ranks = ALONE,
) -> list[MicroBatch[ExampleT]]:
    """This rank's share of the schedule's micro-batches, flat.

    `normaliser` is asked once per optimizer step, for all of its examples on all ranks.
    """
    flat = []
    for step in order:
        number = normaliser([examples[index] for micro in step for index in micro])
        flat += [
            MicroBatch(tuple(examples[index] for index in micro), number) for micro in step[ranks.rank :: ranks.size]
        ]
    return flat


class MicroBatchData(LightningDataModule):  # type: ignore[misc]
    """Collates micro-batches one by one, in the order given, for training and for scoring alike.

    Args:
        collate: `collate_examples` or `collate_pairs`, whichever fits the examples.

    Attributes:
        num_done: micro-batches that a training which goes on has behind it.
    """

    def __init__(self, micros: Sequence[MicroBatch[ExampleT]], collate: Callable[..., Batch], layout: Layout) -> None:
        super().__init__()
        self.dataset = _CollatedMicroBatches(micros, collate, layout)
        self.num_done = 0

    def train_dataloader(self) -> DataLoader[Batch]:
        """One batch per forward pass; `batch_size=None` because the schedule has made the batches."""
        return DataLoader(self.dataset, batch_size=None, sampler=_InOrder(len(self.dataset), self.num_done))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The same batches."""
        return self.train_dataloader()


class _InOrder(Sampler[int]):
    """Indices in order, without those done. Its length counts them, for Lightning counts them too."""

    def __init__(self, number: int, num_done: int) -> None:
        self.number = number
        self.num_done = num_done

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.num_done, self.number))


class _CollatedMicroBatches(Dataset[Batch]):
    def __init__(self, micros: Sequence[MicroBatch[ExampleT]], collate: Callable[..., Batch], layout: Layout) -> None:
        self.micros = micros
        self.collate = collate
        self.layout = layout

    def __len__(self) -> int:
        return len(self.micros)

    def __getitem__(self, index: int) -> Batch:
        micro = self.micros[index]
        return self.collate(micro.examples, layout=self.layout, normaliser=micro.normaliser)
