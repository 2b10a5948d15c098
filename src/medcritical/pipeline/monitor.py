"""The machine while stages run: processor, memory and GPU, one JSON row every few seconds into the run's folder."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medcritical.store.jsonl import append_record, read_appended

SYSTEM = "system.jsonl"
MEBIBYTE = 2**20
_QUERY = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used,power.draw", "--format=csv,noheader,nounits"]


@contextmanager
def watched_machine(folder: Path, every_seconds: float) -> Iterator[None]:
    """Append rows to `<folder>/system.jsonl` while the block runs; none when `every_seconds` is 0.

    A row has `step`, seconds of watching: a run that goes on later continues where its last row ended.
    """
    if every_seconds == 0:
        yield
        return
    path, stop = folder / SYSTEM, threading.Event()
    start = _last_step(folder) - time.monotonic()

    def watch() -> None:
        cpu_percent(None)  # the first reading of psutil has no span yet
        while not stop.wait(every_seconds):
            row = {"step": round(start + time.monotonic(), 1), **read_machine()}
            with suppress(OSError):  # a full disk: the stages say so, and rows may go on when there is room
                append_record(path, row)

    from psutil import cpu_percent

    thread = threading.Thread(target=watch, name="machine", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def read_machine() -> dict[str, float]:
    """Processor load of the machine (percent of all cores), memory of this process and its workers, of the machine, GPUs.

    Memory is in MiB, shares in percent, power in watts.
    """
    import psutil

    return {
        "cpu_percent": psutil.cpu_percent(None),
        "memory_mib": _own_memory() / MEBIBYTE,
        "machine_memory_percent": psutil.virtual_memory().percent,
        **_read_gpus(),
    }


def parse_gpus(text: str) -> dict[str, float]:
    """The values that `nvidia-smi` printed, by gpuN_...; a value that a card does not tell is left out."""
    values: dict[str, float] = {}
    for number, line in enumerate(text.strip().splitlines()):
        for name, cell in zip(("percent", "memory_mib", "watts"), line.split(","), strict=True):
            if cell.strip().replace(".", "", 1).isdigit():
                values[f"gpu{number}_{name}"] = float(cell)
    return values


def _read_gpus() -> dict[str, float]:
    if shutil.which(_QUERY[0]) is None:
        return {}
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:  # a busy driver: this look goes without
        return {}
    return parse_gpus(done.stdout) if done.returncode == 0 else {}


def _own_memory() -> int:
    """Resident memory of this process and all it started, bytes."""
    import psutil

    total = 0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # ended between the two calls
            continue
    return total


def read_rows(folder: Path) -> list[dict[str, float]]:
    """The rows of `watched_machine`, without what a full disk or a power loss tore; none where nobody looked."""
    return read_appended(folder / SYSTEM, dict[str, float])


def _last_step(folder: Path) -> float:
    rows = read_rows(folder)
    return rows[-1]["step"] if rows else 0.0
