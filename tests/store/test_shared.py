"""Folders that are there while somebody uses them."""

import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medcritical.errors import ArtefactError
from medcritical.store.shared import folder_bytes, remove_unused, shared_folder

USER = """
import sys, time
from pathlib import Path
from typing import Any
from medcritical.store.shared import shared_folder
def make(folder):
    (folder / "whole").write_text("1234", encoding="utf-8")
with shared_folder(Path(sys.argv[1]), "merged-a", make) as folder:
    print((folder / "whole").read_text(encoding="utf-8"), flush=True)
    sys.stdin.read()
"""


def user(above: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(above)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1234\n"
    return process


def refuse(folder: Path) -> None:
    raise AssertionError("it is there already")


def test_it_is_made_once_and_stays_until_its_last_user_has_gone(tmp_path: Path) -> None:
    with user(tmp_path) as other:
        with shared_folder(tmp_path, "merged-a", refuse) as folder:
            assert folder == tmp_path / "merged-a"
        assert folder.is_dir(), "another process uses it"
        assert remove_unused(tmp_path, "merged") == 0
        other.communicate()
    assert not folder.exists()
    assert not list(tmp_path.glob("*.user"))


def test_a_killed_user_keeps_nothing(tmp_path: Path) -> None:
    with user(tmp_path) as other:
        os.kill(other.pid, signal.SIGKILL)
    assert (tmp_path / "merged-a" / "whole").is_file()
    assert remove_unused(tmp_path, "merged") == 4
    assert not (tmp_path / "merged-a").exists()


def test_what_could_not_be_made_is_not_there(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError(28, "No space left on device", str(folder / "half"))

    with pytest.raises(ArtefactError, match="disk is full"), shared_folder(tmp_path, "merged-a", fail):
        pass
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_what_goes_away_while_it_is_counted_has_no_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder between being listed and being entered, a file between being listed and being looked at."""
    for name in ("stays", "goes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"1234")
    (tmp_path / "goes too").write_bytes(b"1234")
    assert folder_bytes(tmp_path) == 12
    scandir = os.scandir

    def after_a_removal(path: str) -> Any:
        if path == str(tmp_path / "goes"):
            shutil.rmtree(path)
            (tmp_path / "goes too").unlink()
        return scandir(path)

    monkeypatch.setattr(os, "walk", functools.partial(os.walk, topdown=False))  # lists all before it looks at any
    monkeypatch.setattr(os, "scandir", after_a_removal)
    assert folder_bytes(tmp_path) == 4


def test_a_fault_of_the_user_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), shared_folder(tmp_path, "merged-a", lambda folder: None):
        raise FileNotFoundError("of the user")
    assert not (tmp_path / "merged-a").exists()
