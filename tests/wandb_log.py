"""Reading an offline W&B run back: what would be sent, as W&B wrote it to disk."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def isolate_wandb(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """W&B finds a closed port of this machine, and neither login nor settings of whoever runs the tests."""
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CONFIG_DIR": str(folder / "config"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_DATA_DIR": str(folder / "data"),
        "NETRC": str(folder / "netrc"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def read_log(folder: Path) -> Iterator[object]:
    """The records of an offline run: a LevelDB log behind a header of 7 bytes, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, message = 7, b""
    while place + 7 <= len(content):
        left_in_block = 32768 - place % 32768
        crc, size, kind = struct.unpack_from("<IHB", content, place)
        if left_in_block < 7 or kind == 0:  # the rest of a block is padding
            place += left_in_block
            continue
        part = content[place + 7 : place + 7 + size]
        assert zlib.crc32(part, zlib.crc32(bytes([kind]))) == crc
        message = part if kind in (1, 2) else message + part  # full, first; middle, last
        place += 7 + size
        if kind in (1, 4):
            yield Record.FromString(message)


def items(entries) -> dict[str, object]:
    return {entry.key or "/".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}


def of_kind(folder: Path, kind: str) -> list:
    return [getattr(record, kind) for record in read_log(folder) if record.WhichOneof("record_type") == kind]


def history(folder: Path) -> list[dict[str, Any]]:
    """The logged rows, without what W&B adds."""
    rows = [items(row.item) for row in of_kind(folder, "history")]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]


def axes(folder: Path) -> dict[str, str]:
    """Metric -> the metric of its horizontal axis."""
    return {metric.name: metric.step_metric for metric in of_kind(folder, "metric") if metric.step_metric}


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a logged table."""
    (path,) = (folder / "files" / "media" / "table").glob(f"{name}_*.table.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
