"""Metric rows on disk, and progress for whoever shows it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from medcritical.training.health import check_finite
from medcritical.training.modules import ScoringModule, TrainingModule

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called with what is done, what there is to do, and the latest metrics."""


class MetricRows(Callback):  # type: ignore[misc]
    """Writes one JSON row per `every_n_steps` optimizer steps, and for the first and last, as they happen.

    A row holds `step` (optimizer steps done), `tokens` (trained so far, no padding), `seconds` since the start, and
    train/... metrics of that step alone, over all of its micro-batches. All but `seconds` repeat with the seed.
    """

    def __init__(self, path: Path, every_n_steps: int, on_progress: Progress) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self.on_progress = on_progress
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, module: TrainingModule) -> None:
        """Empties the file and starts the clock."""
        self.path.write_text("", encoding="utf-8")
        self._start = time.perf_counter()

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
        row = {"step": step, **module.step_metrics(), "tokens": module.num_tokens, "seconds": seconds}
        check_finite(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        self.on_progress(step, module.num_steps, row)

    def on_train_end(self, trainer: Trainer, module: TrainingModule) -> None:
        """Stops the clock."""
        self.seconds = time.perf_counter() - self._start


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
