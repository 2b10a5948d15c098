"""What a person sees of cells while a launcher runs them, wherever that is: one line when a cell ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO

from medcritical.pipeline.sweep import Cell

_EVERY_SECONDS = 0.5


class CellWatcher:
    """Looks into the cells' folders while its block runs, and once more when it ends."""

    def __init__(self, cells: Sequence[Cell], stream: TextIO = sys.stderr) -> None:
        self._open, self._total, self._stream = list(cells), len(cells), stream
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self.look()
        self.look()

    def look(self) -> None:
        """Tell of every cell that has ended since the last look."""
        for cell in list(self._open):
            failure = cell.run.folder.failure()
            if failure is not None:
                self._tell(cell, f"error: cell {cell}: {failure.message}\n    log: {failure.log}")
            elif cell.run.is_done:
                self._tell(cell, f"done: cell {cell}")

    def _tell(self, cell: Cell, text: str) -> None:
        self._open.remove(cell)
        ended = self._total - len(self._open)
        print(f"\n{text}\n    {ended} of {self._total} cells have ended", file=self._stream, flush=True)
