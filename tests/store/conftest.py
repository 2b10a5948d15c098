"""Artefacts for the store tests."""

from pathlib import Path

import pytest

from medcritical.store import ArtefactRef, Store
from medcritical.store.artefact import artefact_key


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def ref() -> ArtefactRef:
    return ArtefactRef(stage="pair", key=artefact_key("pair", 1, {"seed": 0}, {}))
