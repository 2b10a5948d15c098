"""What a stage is given besides its slice, and what it gives back besides files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcritical.config.schema import TrainerConfig
from medcritical.store import ArtefactRef, Manifest, Store

Progress = Callable[[int, int, str], None]
"""Called with (done, total, unit)."""


@dataclass(frozen=True)
class Inputs:
    """The artefacts a stage reads, by role."""

    store: Store
    refs: Mapping[str, ArtefactRef]

    def __contains__(self, role: str) -> bool:
        return role in self.refs

    def __getitem__(self, role: str) -> Path:
        """Folder of an input."""
        return self.store.folder(self.refs[role])

    def manifest(self, role: str) -> Manifest:
        """Manifest of an input."""
        return self.store.manifest(self.refs[role])


@dataclass
class Output:
    """Where a stage writes, whom it tells how far it is, and the machine's settings that do not change results."""

    folder: Path
    trainer: TrainerConfig
    progress: Progress
    facts: dict[str, Any] = field(default_factory=dict)
    teacher_tokens: int = 0
    student_tokens: int = 0
