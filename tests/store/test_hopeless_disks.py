"""A full disk, a read-only folder, a file in the way: one sentence with a remedy, and nothing left behind."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import builder
import pytest

from medcritical.errors import ArtefactError
from medcritical.records import Prompt
from medcritical.store import ArtefactRef, Store, write_records

NOBODY = 65534
PROMPTS = [Prompt(system="", user="x" * 1000)] * 200


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=8", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a full disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def world_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_full_disk_is_said_and_nothing_stays(full_disk: Path, ref: ArtefactRef) -> None:
    store = Store(full_disk)

    def write(point: str) -> None:
        if point == "first file":
            write_records(store.folder(ref) / "pairs.jsonl", PROMPTS)

    with pytest.raises(ArtefactError, match=r"disk is full.*MEDCRITICAL_STORE"):
        builder.make(store, ref, reach=write)
    assert not store.folder(ref).exists()
    assert files_in(full_disk) == []


def test_a_stage_that_writes_by_itself_is_told_the_same(full_disk: Path, ref: ArtefactRef) -> None:
    """Weights are written by safetensors, not by the store."""
    store = Store(full_disk)
    with pytest.raises(ArtefactError, match="disk is full"), store.build(ref) as folder:
        (folder / "weights").write_bytes(b"x" * 200_000)
    assert not store.folder(ref).exists()


def test_no_room_for_the_lock(full_disk: Path, ref: ArtefactRef) -> None:
    for number in range(20):
        try:
            (full_disk / str(number)).touch()
        except OSError:
            break
    with pytest.raises(ArtefactError, match="disk is full"), Store(full_disk).lock(ref):
        pytest.fail("the lock cannot be held")


def test_a_full_disk_while_the_manifest_is_written(
    store: Store, ref: ArtefactRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArtefactError, match="disk is full"):
        builder.make(store, ref)
    assert files_in(store.root) == []


def test_a_folder_that_is_not_ours_to_write(world_folder: Path) -> None:
    """As an ordinary user, for root may write anywhere: the child prints what it was told."""
    code = f"""
import os, pathlib
from medcritical.errors import ArtefactError
from medcritical.store import ArtefactRef, Store, write_json
import encodings.idna  # what is imported later must be there before the rights go
store = Store(pathlib.Path({str(world_folder)!r}) / "store")
if os.getuid() == 0:
    os.setuid({NOBODY})
else:
    os.chmod({str(world_folder)!r}, 0o555)
for attempt in (lambda: store.lock(ArtefactRef(stage="pair", key="0" * 64)).__enter__(),
                lambda: store.build(ArtefactRef(stage="pair", key="0" * 64)).__enter__(),
                lambda: write_json(store.root / "sources.json", 1),
                lambda: write_json(store.root.parent / "config.json", 1)):
    try:
        attempt()
    except ArtefactError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all("no permission" in line and "paths.store" in line for line in lines), lines
    assert list(world_folder.iterdir()) == []


def test_a_read_only_file_system(full_disk: Path, ref: ArtefactRef) -> None:
    store = Store(full_disk)
    with store.lock(ref):
        pass
    subprocess.run(["mount", "-o", "remount,ro", full_disk], check=True)
    with pytest.raises(ArtefactError, match="read-only"), store.lock(ref):
        pytest.fail("the lock cannot be held")
    with pytest.raises(ArtefactError, match="read-only"), store.build(ref):
        pytest.fail("nothing can be made")
    with pytest.raises(ArtefactError, match="read-only"):
        write_records(full_disk / "x.jsonl", PROMPTS)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_file_where_the_store_should_be(tmp_path: Path, ref: ArtefactRef, depth: int) -> None:
    (tmp_path / "store").write_text("a file", encoding="utf-8")
    root = tmp_path / "store" / "below" if depth else tmp_path / "store"
    with pytest.raises(ArtefactError, match="file"), Store(root).lock(ref):
        pytest.fail("the lock cannot be held")
    with pytest.raises(ArtefactError, match="file"):
        write_records(root / "x.jsonl", PROMPTS)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="too long"):
        write_records(tmp_path / ("x" * 300) / "x.jsonl", PROMPTS)


def test_an_error_that_no_user_can_mend_stays_what_it_is(
    store: Store, ref: ArtefactRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(OSError, match="put/output") as caught:
        write_records(store.root / "x.jsonl", PROMPTS)
    assert not isinstance(caught.value, ArtefactError)
