"""A worker that is killed, two workers that want the same: an artefact is whole or it is not there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import builder
import pytest

from medcritical.store import ArtefactRef, Store
from medcritical.store.artefact import MANIFEST
from medcritical.store.hashing import hash_file


def start(store: Store, ref: ArtefactRef, *more: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, builder.__file__, str(store.root), ref.key, *map(str, more or ("",))]
    return subprocess.Popen(command)


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened in 30 seconds")


def assert_whole(store: Store, ref: ArtefactRef) -> None:
    folder = store.folder(ref)
    entries = store.manifest(ref).files
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert on_disk == {MANIFEST, "first.txt", "part/second.txt"}
    assert set(entries) == on_disk - {MANIFEST}
    assert all(hash_file(folder / name) == entry.sha256 for name, entry in entries.items())


@pytest.mark.parametrize("point", builder.POINTS)
def test_a_killed_worker_leaves_a_whole_artefact_or_none(store: Store, ref: ArtefactRef, point: str) -> None:
    assert start(store, ref, point).wait() == -signal.SIGKILL
    is_complete = store.is_complete(ref)
    assert is_complete is (point in ("renamed", "complete", "done"))
    if is_complete:
        assert_whole(store, ref)
    builder.make(store, ref)
    assert store.is_complete(ref)
    assert_whole(store, ref)


def test_of_two_workers_one_makes_it_and_the_other_waits(store: Store, ref: ArtefactRef, tmp_path: Path) -> None:
    logs, go = [tmp_path / "first.log", tmp_path / "second.log"], tmp_path / "go"
    first = start(store, ref, "", logs[0], go)
    wait_until(lambda: store.folder(ref).is_dir())
    second = start(store, ref, "", logs[1], go)
    wait_until(logs[1].exists)
    time.sleep(0.3)
    assert logs[1].read_text(encoding="utf-8") == "asks\n"
    go.touch()
    assert (first.wait(), second.wait()) == (0, 0)
    assert [log.read_text(encoding="utf-8").split() for log in logs] == [["asks", "builds"], ["asks", "shares"]]
    assert_whole(store, ref)


def test_who_waits_takes_over_when_the_holder_is_killed(store: Store, ref: ArtefactRef, tmp_path: Path) -> None:
    log, go = tmp_path / "second.log", tmp_path / "go"
    first = start(store, ref, "", tmp_path / "first.log", tmp_path / "never")
    wait_until(lambda: (store.folder(ref) / "part" / "second.txt").is_file())
    second = start(store, ref, "", log, go)
    wait_until(log.exists)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    go.touch()
    assert second.wait() == 0
    assert log.read_text(encoding="utf-8").split() == ["asks", "builds"]
    assert_whole(store, ref)


def test_ctrl_c_while_building_leaves_nothing(store: Store, ref: ArtefactRef) -> None:
    def interrupt(point: str) -> None:
        if point == "first file":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builder.make(store, ref, reach=interrupt)
    assert not store.folder(ref).exists()
    assert not store.is_complete(ref)


@pytest.mark.parametrize("point", ["renamed", "complete"])
def test_ctrl_c_when_the_manifest_is_written_loses_nothing(store: Store, ref: ArtefactRef, point: str) -> None:
    def interrupt(reached: str) -> None:
        if reached == point:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder.artefacts, "hash_file", builder.artefacts.hash_file)  # both set back at the end
        patch.setattr(Path, "replace", Path.replace)
        builder.watch_completion(interrupt)
        with pytest.raises(KeyboardInterrupt):
            builder.make(store, ref, reach=interrupt)
    assert store.is_complete(ref)
    assert store.executions(ref) == 1
    assert_whole(store, ref)
