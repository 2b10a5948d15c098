"""Scoring, for the tests of `answer` and `score`."""

from pathlib import Path

import pytest
from scored import Scoring


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scoring:
    """`score(config, questions, student)`."""
    return Scoring(tmp_path, monkeypatch)
