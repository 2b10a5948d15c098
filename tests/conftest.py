"""Fixtures shared by all tests."""

import os
import signal
from pathlib import Path

import pytest

# A shell that starts the tests in the background has SIGINT ignored, by the commands that they start and interrupt as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real exam questions in upstream formats; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("MEDCRITICAL_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real exam data at {folder}; set MEDCRITICAL_SHARED_DATA")
    return folder
