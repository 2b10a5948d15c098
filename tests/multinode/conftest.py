"""Machines for the tests of this folder, and runs on one machine that theirs are held against."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "pipeline"))  # for ranked_runs

from machines import Machine, reason_to_skip, two_machines


@pytest.fixture(scope="session")
def _can_have_machines() -> None:
    if reason := reason_to_skip():
        pytest.skip(reason)


@pytest.fixture
def machines(_can_have_machines: None) -> Iterator[tuple[Machine, Machine]]:
    """Two machines that reach each other, removed with all that runs in them."""
    with two_machines() as pair:
        yield pair
