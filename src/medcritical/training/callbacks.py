"""Metric rows on disk, and progress for whoever shows it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from medcritical.training.health import check_finite
from medcritical.training.modules import ScoringModule, TrainingModule
from medcritical.training.ranks import Ranks
from medcritical.training.strategies import gather_weights

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called with what is done, what there is to do, and the latest metrics."""


class MetricRows(Callback):  # type: ignore[misc]
    """Writes one JSON row per `every_n_steps` optimizer steps, and for the first and last, as they happen.

    A row holds `step` (optimizer steps done), `tokens` (trained so far, no padding), `seconds` since the start, and
    train/... metrics of that step alone, over all of its micro-batches on all ranks. All but `seconds` repeat with the
    seed. Every rank has the rows, rank 0 writes them. A training that goes on writes those of its past again.
    """

    def __init__(self, path: Path, every_n_steps: int, on_progress: Progress, ranks: Ranks) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self.on_progress = on_progress
        self.is_writing = ranks.is_first
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._start = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Rows so far and the time they took, for a checkpoint."""
        return {"rows": self.rows, "seconds": time.perf_counter() - self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the rows of a checkpoint."""
        self.rows, self.seconds = list(state["rows"]), state["seconds"]

    def on_train_start(self, trainer: Trainer, module: TrainingModule) -> None:
        """Writes the rows there are, none at the beginning, and starts the clock."""
        self._start = time.perf_counter() - self.seconds
        if self.is_writing:
            self.path.write_text("".join(map(_line, self.rows)), encoding="utf-8")

    def on_train_batch_end(
        self, trainer: Trainer, module: TrainingModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Writes the row of an optimizer step that ends with this micro-batch. Raises TrainingError on nan or inf."""
        step, rest = divmod(batch_index + 1, trainer.accumulate_grad_batches)
        if rest:
            return
        if step in (1, module.num_steps) or step % self.every_n_steps == 0:
            self._write(step, module)
        module.forget_step()

    def _write(self, step: int, module: TrainingModule) -> None:
        seconds = round(time.perf_counter() - self._start, 3)
        row = {"step": step, **module.step_metrics(), "seconds": seconds}
        check_finite(row)
        self.rows.append(row)
        if self.is_writing:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
            self.on_progress(step, module.num_steps, row)

    def on_train_end(self, trainer: Trainer, module: TrainingModule) -> None:
        """Stops the clock."""
        self.seconds = time.perf_counter() - self._start


class FinalWeights(Callback):  # type: ignore[misc]
    """Puts the trained weights together on rank 0 when training is done, while the engine still can."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.weights: dict[str, Tensor] = {}

    def on_train_end(self, trainer: Trainer, module: TrainingModule) -> None:
        """Gathers."""
        self.weights = gather_weights(module.model, self.ranks)


class ScoringProgress(Callback):  # type: ignore[misc]
    """Reports scored batches."""

    def __init__(self, num_batches: int, on_progress: Progress) -> None:
        self.num_batches = num_batches
        self.on_progress = on_progress

    def on_predict_batch_end(
        self, trainer: Trainer, module: ScoringModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Counts the batch."""
        self.on_progress(batch_index + 1, self.num_batches, {})


def _line(row: Mapping[str, float]) -> str:
    return json.dumps(row) + "\n"
