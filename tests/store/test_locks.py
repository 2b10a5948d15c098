"""Locks between processes: held or not, freed by death, and what they guard counted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import builder
import pytest
from filelock import FileLock

from medcritical.store import ArtefactRef, Store, locks
from medcritical.store.locks import hold, is_held

HOLDER = """
import sys, time
from pathlib import Path
from medcritical.store.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_within_its_block_and_never_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    assert not is_held(path)
    with hold(path):
        assert is_held(path)
    assert not is_held(path)


def test_a_killed_holder_frees_its_lock_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_held(path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert path.exists(), "what a killed process leaves behind"
    assert not is_held(path)
    start = time.monotonic()
    with hold(path):
        assert time.monotonic() - start < 1


def test_who_waits_tries_the_less_often_the_longer_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes when somebody sleeps; the holder lets go after a minute."""
    slept, holder = list[float](), FileLock(tmp_path / "lock")
    holder.acquire()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) >= 60:
            holder.release()

    monkeypatch.setattr(locks, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=sleep))
    with hold(tmp_path / "lock"):
        assert slept == sorted(slept)
        assert slept[0] == 0.05
        assert slept[-1] == pytest.approx(5.0)
        assert len(slept) < 70  # 1,200 tries every 50 ms


def test_asking_needs_no_right_to_write(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch(mode=0o444)
    assert not is_held(path)


def test_executions_are_counted_also_of_what_was_made_again(store: Store, ref: ArtefactRef) -> None:
    assert store.executions(ref) == 0
    builder.make(store, ref)
    builder.make(store, ref)  # is there already
    assert store.executions(ref) == 1
    store.discard(ref)
    assert store.executions(ref) == 1
    builder.make(store, ref)
    assert store.executions(ref) == 2


def test_an_artefact_from_before_executions_were_counted_was_made_once(store: Store, ref: ArtefactRef) -> None:
    builder.make(store, ref)
    (counted,) = store.folder(ref).parent.glob(".*executions*")
    counted.unlink()
    assert store.executions(ref) == 1


def test_a_torn_count_of_executions_is_no_obstacle(store: Store, ref: ArtefactRef) -> None:
    builder.make(store, ref)
    (counted,) = store.folder(ref).parent.glob(".*executions*")
    counted.write_bytes(counted.read_bytes() + b'{"host": "a", "pi')
    assert store.executions(ref) == 1
    store.discard(ref)
    builder.make(store, ref)
    assert store.executions(ref) == 2
    counted.write_bytes(b'{"host": "a", "pi')
    assert store.executions(ref) == 1, "it is there, and so was made"


def test_a_stage_does_not_fail_for_want_of_its_count(
    store: Store, ref: ArtefactRef, caplog: pytest.LogCaptureFixture
) -> None:
    builder.make(store, ref)
    (counted,) = store.folder(ref).parent.glob(".*executions*")
    counted.unlink()
    counted.mkdir()
    store.discard(ref)
    builder.make(store, ref)
    assert store.is_complete(ref)
    assert f"{ref} is complete, but not counted" in caplog.text


def test_an_artefact_is_locked_while_it_is_made(store: Store, ref: ArtefactRef) -> None:
    seen: list[bool] = []
    builder.make(store, ref, reach=lambda point: seen.append(store.is_locked(ref)))
    assert set(seen) == {True}
    assert not store.is_locked(ref)


def test_all_manifests_are_found(store: Store, ref: ArtefactRef) -> None:
    builder.make(store, ref)
    assert [manifest.ref for manifest in store.manifests()] == [ref]
