"""What one CUDA machine measured, case by case, and its file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from results import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results" / "gpu.json"


class SideResult(msgspec.Struct, frozen=True):
    """One side: real tokens per second and model FLOPs utilisation (None: unknown device), both of the median turn, peak
    bytes, what it chose, and every turn: real tokens of a step, and seconds per step."""

    tokens_per_second: float
    utilisation: float | None
    peak_bytes: int
    micro: int
    is_checkpointed: bool
    tokens: int
    seconds: list[float]


class GpuCase(msgspec.Struct, frozen=True):
    """`ours` or `peer` is why it has no result, where it has none.

    `ratio`: the peer's wall seconds per token divided by ours; `memory_ratio`: ours divided by the peer's. Both are None
    where a side has no result, the second on a CPU too.
    """

    name: str
    ratio: float | None
    memory_ratio: float | None
    ours: SideResult | str
    peer: SideResult | str


class GpuResults(msgspec.Struct, frozen=True):
    """`attention`: largest differences of the packed path, by what was compared."""

    device: str
    versions: dict[str, str]
    peer_settings: dict[str, str]
    attention: dict[str, float]
    cases: list[GpuCase]


def compare(name: str, ours: SideResult | str, peer: SideResult | str) -> GpuCase:
    """One case, of what its sides gave."""
    if isinstance(ours, str) or isinstance(peer, str):
        return GpuCase(name, None, None, ours, peer)
    speed = round(ours.tokens_per_second / peer.tokens_per_second, 3)
    memory = round(ours.peak_bytes / peer.peak_bytes, 3) if peer.peak_bytes else None
    return GpuCase(name, speed, memory, ours, peer)


def write(results: GpuResults, path: Path) -> None:
    """Write what there is so far."""
    path.write_bytes(encode(results))


def encode(results: GpuResults) -> bytes:
    """As it stands in the file."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"
