"""What a person sees while stages run: one line per stage, and a progress bar in a terminal or plain lines in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.worker import Event

_PLAIN_EVERY_SECONDS = 15.0


@dataclass
class _Running:
    """A stage that is being made: when it began, when a plain line last told of it, and how far it is."""

    started: float
    last_line: float
    text: str = "..."


class Watcher:
    """Follows the events of one worker or several. `calls` are all calls of the plan, done ones included, for the count."""

    def __init__(self, calls: Sequence[StageCall], num_done: int, stream: TextIO = sys.stderr) -> None:
        self._names = {call.ref.key: (call.ref.stage, call.label) for call in calls}
        self._total, self._done, self._stream = len(calls), num_done, stream
        self._running: dict[str, _Running] = {}
        self._is_terminal = stream.isatty()

    def see(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "started":
            now = time.monotonic()
            self._running[event.key] = _Running(now, now)
            self._live(self._state())
        elif event.kind == "progress":
            self._progress(event)
        elif event.kind == "note":
            self._line(f"{self._head(self._done + 1, event.key)} {event.message}")
        elif event.kind in ("done", "shared"):
            self._done += 1
            self._running.pop(event.key, None)
            how = f"{event.seconds:6.1f} s" if event.kind == "done" else "made by another job"
            self._line(f"{self._head(self._done, event.key)}  {how}{_remarks(event)}")
            if self._running:
                self._live(self._state())

    def _head(self, number: int, key: str) -> str:
        stage, label = self._names[key]
        return f"[{number:>{len(str(self._total))}}/{self._total}] {f'{stage:<9} {label}':<44}"

    def _state(self) -> str:
        """All that is being made, in one line."""
        if len(self._running) == 1:
            ((key, running),) = self._running.items()
            return f"{self._head(self._done + 1, key)} {running.text}"
        parts = [f"{' '.join(self._names[key])}: {running.text}" for key, running in self._running.items()]
        return f"[{self._done:>{len(str(self._total))}}/{self._total}] " + " | ".join(parts)

    def _progress(self, event: Event) -> None:
        now, running = time.monotonic(), self._running[event.key]
        rate = event.done / max(now - running.started, 1e-6)
        running.text = f"{event.done}/{event.total} {event.unit}, {rate:.1f}/s"
        if rate > 0 and event.done < event.total:
            running.text += f", {_clock((event.total - event.done) / rate)} left"
        if self._is_terminal:
            self._live(self._state())
        elif now - running.last_line >= _PLAIN_EVERY_SECONDS:
            running.last_line = now
            print(f"{self._head(self._done + 1, event.key)} {running.text}", file=self._stream, flush=True)

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
