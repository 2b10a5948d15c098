"""Tiny students."""

from pathlib import Path

import pytest
import torch
from tiny_students import WORDS, scratch_config

from medcritical.modeling.checkpoint import Student, load_checkpoint
from medcritical.modeling.student import create_student


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def scratch_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    create_student(scratch_config(), WORDS, folder, seed=0)
    return folder


@pytest.fixture
def student(scratch_folder: Path) -> Student:
    return load_checkpoint(scratch_folder, dtype=torch.float32)
