"""Stable hashes of JSON values and files, and seeds derived from one root."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def hash_json(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def derive_seed(root: int, *names: str | int) -> int:
    """A seed in [0, 2**31) for one use of randomness; different names give independent seeds."""
    return int(hash_json([root, *names])[:8], 16) & 0x7FFFFFFF
