"""What a person sees while stages run: one line per stage, and a progress bar in a terminal or plain lines in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.worker import Event

_PLAIN_EVERY_SECONDS = 15.0


class Watcher:
    """Follows worker events. `calls` are all calls of the plan, done ones included, for the count of stages."""

    def __init__(self, calls: Sequence[StageCall], num_done: int, stream: TextIO = sys.stderr) -> None:
        self._labels = {call.ref.key: f"{call.ref.stage:<9} {call.label}" for call in calls}
        self._total, self._done, self._stream = len(calls), num_done, stream
        self._started = self._last_line = 0.0
        self._is_terminal = stream.isatty()

    def see(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "started":
            self._started = self._last_line = time.monotonic()
            self._live(f"{self._head(event)} ...")
        elif event.kind == "progress":
            self._progress(event)
        elif event.kind == "note":
            self._line(f"{self._head(event)} {event.message}")
        elif event.kind in ("done", "shared"):
            self._done += 1
            how = f"{event.seconds:6.1f} s" if event.kind == "done" else "made by another job"
            self._line(f"{self._head(event)}  {how}{_remarks(event)}")

    def _head(self, event: Event) -> str:
        width = len(str(self._total))
        number = self._done + (event.kind not in ("done", "shared"))
        return f"[{number:>{width}}/{self._total}] {self._labels[event.key]:<44}"

    def _progress(self, event: Event) -> None:
        now = time.monotonic()
        elapsed = max(now - self._started, 1e-6)
        rate = event.done / elapsed
        left = (event.total - event.done) / rate if rate > 0 else float("inf")
        text = f"{self._head(event)} {event.done}/{event.total} {event.unit}, {rate:.1f}/s"
        if event.done < event.total and left != float("inf"):
            text += f", {_clock(left)} left"
        if self._is_terminal:
            self._live(text)
        elif now - self._last_line >= _PLAIN_EVERY_SECONDS:
            self._last_line = now
            print(text, file=self._stream, flush=True)

    def _live(self, text: str) -> None:
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be taken back
            print(f"\r\x1b[2K{text[:width]}", end="", file=self._stream, flush=True)

    def _line(self, text: str) -> None:
        print(("\r\x1b[2K" if self._is_terminal else "") + text, file=self._stream, flush=True)


def _remarks(event: Event) -> str:
    """The figures of a stage that a person wants at once; its details and its alarms on lines of their own."""
    shown = "".join(f"  {text}" for text in event.facts.get("shown", []))
    details = "".join(f"\n    {line}" for line in event.facts.get("details", []))
    return shown + details + "".join(f"\n    ALARM: {alarm}" for alarm in event.facts.get("alarms", []))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
