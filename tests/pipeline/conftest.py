"""What several tests of whole runs start from."""

from pathlib import Path

import pytest
from toy_runs import Run, run_toy


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A folder with the store and the outputs of an uninterrupted run, and that run."""
    root = tmp_path_factory.mktemp("finished")
    return root, run_toy(root)
