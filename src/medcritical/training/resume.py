"""Going on after a stop as if there had been none: when a training saves its state, and how it finds it again."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from medcritical.errors import TrainingStopped
from medcritical.training import checkpoints
from medcritical.training.checkpoints import Marker
from medcritical.training.modules import TrainingModule
from medcritical.training.ranks import (
    Ranks,
    gather_over_ranks,
    largest_over_ranks,
    wait_for_ranks,
)

STATE = "training"  # what Lightning or DeepSpeed writes: a file, or a folder of one part per rank
_TIME_IS_UP = 1  # no signal has this number's meaning here: SIGHUP is left to its default
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

Release = Callable[[], None]
"""Gives signals their former meaning, and obeys one that came too late to stop the training."""


@dataclass(frozen=True)
class Recovery:
    """Where a training keeps its state, and when.

    Attributes:
        folder: its checkpoints; outlives the process.
        every_steps: optimizer steps between two; None: only when it is told to stop.
        deadline: time (seconds since the epoch) by which it must have saved and stopped; None: no limit. A training that has
            never saved does so after its first step, to know how long that takes.
        tell: is given sentences for the person who watches.
        keep: is given what is to be called when the result of a training that has ended well is safe: until then a signal
            would lose it. By default that is at once.
    """

    folder: Path
    every_steps: int | None = None
    deadline: float | None = None
    tell: Callable[[str], None] = print
    keep: Callable[[Release], object] = lambda release: release()


class Resumption(Callback):  # type: ignore[misc]
    """Saves the whole state between two optimizer steps, and restores what Lightning does not.

    That is each rank's random numbers and its count of tokens. SIGTERM, SIGUSR1 (SLURM's warning) and Ctrl-C are kept until
    the step is done; all ranks then agree, save and stop. It must come after the callback that writes the step's row.
    """

    def __init__(self, recovery: Recovery, ranks: Ranks, layout: dict[str, Any]) -> None:
        self.recovery = recovery
        self.ranks = ranks
        self.layout = layout
        self.found: Marker | None = None
        self._must_restore = False
        self._signal = 0
        self._longest_step = self._longest_save = 0.0
        self._step_began = 0.0

    def find(self) -> Marker | None:
        """The checkpoint to go on from, the same on all ranks. Raises ConfigError if it was made with another layout."""
        recovery = self.recovery
        self.found = found = checkpoints.find_newest(recovery.folder, self.layout, recovery.tell, self.ranks)
        if found is not None:
            self._must_restore, self._longest_save = True, found.save_seconds
            if self.ranks.is_first:
                recovery.tell(f"goes on from its checkpoint after step {found.step}.")
        return found

    @property
    def state_path(self) -> Path | None:
        """What Lightning restores from."""
        return None if self.found is None else checkpoints.place(self.recovery.folder, self.found.step) / STATE

    @contextmanager
    def signals_kept(self) -> Iterator[None]:
        """Gives signals their former meaning when the training has stopped or failed; after a good end `keep` decides when.

        But a rank whose training has failed ignores SIGTERM from then on: torchrun sends it to the ranks that are left when one
        has died, and it would end this one before it has said why it failed. Whoever really wants its end has SIGKILL.
        """
        before = {number: signal.getsignal(number) for number in _STOPPING}
        try:
            yield
        except BaseException as error:
            if self.ranks.size > 1 and isinstance(error, Exception) and not isinstance(error, TrainingStopped):
                before[signal.SIGTERM] = signal.SIG_IGN
            _handle_as(before)
            raise
        self._keep_signals()  # once more: Lightning has set back what it found
        self.recovery.keep(partial(self._release, before))

    def on_train_start(self, trainer: Trainer, module: TrainingModule) -> None:
        """Keeps signals from here on; Lightning has set its own handlers by now, which would stop between ranks."""
        self._keep_signals()
        self._step_began = time.monotonic()

    def _release(self, before: Mapping[signal.Signals, Any]) -> None:
        _handle_as(before)
        if self._signal:
            signal.raise_signal(self._signal)

    def _keep_signals(self) -> None:
        _handle_as(dict.fromkeys(_STOPPING, self._keep))

    def _keep(self, number: int, frame: FrameType | None) -> None:
        if self._signal == signal.SIGINT == number:  # the second Ctrl-C does not wait
            raise KeyboardInterrupt
        self._signal = number

    def on_train_batch_start(self, trainer: Trainer, module: TrainingModule, batch: Any, batch_index: int) -> None:
        """Restores this rank's own state, once: after the loader has drawn from the random numbers for itself."""
        if self._must_restore:
            assert self.found is not None
            self._must_restore = False
            path = self._rank_path(self.found.step)
            _set_rank_state(torch.load(path, weights_only=True), module)

    def on_train_batch_end(
        self, trainer: Trainer, module: TrainingModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """After an optimizer step: saves if it is time to, stops if all must. Raises TrainingStopped, KeyboardInterrupt."""
        step, rest = divmod(batch_index + 1, trainer.accumulate_grad_batches)
        if rest or step == module.num_steps:
            return
        self._longest_step = max(self._longest_step, time.monotonic() - self._step_began)
        stop = self._agree_on_stop()
        if stop or self._is_save_due(step):
            self._save(trainer, module, step)
            stop = stop or self._agree_on_stop()  # saving takes time: there may be none for another step
        self._step_began = time.monotonic()
        if stop == signal.SIGINT:
            raise KeyboardInterrupt
        if stop:
            why = "its time limit" if stop == _TIME_IS_UP else signal.Signals(stop).name
            raise TrainingStopped(f"saved after step {step} of {module.num_steps} and stopped for {why}: run it again.")

    def _agree_on_stop(self) -> int:
        """Why all ranks must stop now: the largest number that one of them has, a signal's or `_TIME_IS_UP`; 0: go on."""
        return largest_over_ranks(self._signal or (_TIME_IS_UP if self._is_time_up() else 0))

    def _is_save_due(self, step: int) -> bool:
        """True when the count of steps says so, or nobody knows yet how long before a deadline a save must begin."""
        every, deadline = self.recovery.every_steps, self.recovery.deadline
        return bool(every and step % every == 0) or (deadline is not None and not self._longest_save)

    def _is_time_up(self) -> bool:
        """True when another step and a save might not end before the deadline."""
        deadline = self.recovery.deadline
        return deadline is not None and time.time() + 2 * self._longest_step + self._longest_save >= deadline

    def _save(self, trainer: Trainer, module: TrainingModule, step: int) -> None:
        began, folder = time.monotonic(), checkpoints.place(self.recovery.folder, step)
        if self.ranks.is_first:
            checkpoints.clear_place(folder)
        wait_for_ranks()
        trainer.save_checkpoint(folder / STATE)
        torch.save(_rank_state(module), self._rank_path(step))
        wait_for_ranks()
        mine = checkpoints.list_files(folder)[self.ranks.rank :: self.ranks.size]
        parts = gather_over_ranks(checkpoints.describe_files(folder, mine))
        if self.ranks.is_first:
            files = {name: entry for part in parts for name, entry in part.items()}
            seconds = max(self._longest_save, time.monotonic() - began)
            marker = Marker(step=step, layout=self.layout, files=files, save_seconds=seconds)
            checkpoints.complete(self.recovery.folder, marker)
        wait_for_ranks()
        self._longest_save = max(self._longest_save, time.monotonic() - began)

    def _rank_path(self, step: int) -> Path:
        return checkpoints.place(self.recovery.folder, step) / f"rank-{self.ranks.rank}.pt"


def _handle_as(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _rank_state(module: TrainingModule) -> dict[str, Any]:
    """What is this rank's alone, in types that `weights_only` reads."""
    version, numbers, gauss = random.getstate()
    return {
        "tokens": module.num_tokens,
        "python": [version, list(numbers), gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_rank_state(state: dict[str, Any], module: TrainingModule) -> None:
    module.num_tokens = state["tokens"]
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
