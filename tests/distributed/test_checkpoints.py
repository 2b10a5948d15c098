"""Checkpoints on disk: complete or ignored, sound or passed over; and when a training makes them."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import finding
import pytest
import torch
from starting import start_ranks
from trainings import Case, Ranks, train

from medcritical.errors import ConfigError, TrainingStopped
from medcritical.training import checkpoints
from medcritical.training.checkpoints import MARKER, Marker, complete, describe_files, find_newest, list_files, place
from medcritical.training.resume import Recovery

LAYOUT = {"ranks": 2}
CASE = Case("sft", accumulates=True)


def make(root: Path, step: int, is_complete: bool = True) -> Path:
    folder = place(root, step)
    checkpoints.clear_place(folder)
    (folder / "training").mkdir()
    (folder / "training" / "part").write_bytes(bytes(range(200)))
    (folder / "rank-0.pt").write_bytes(b"state")
    if is_complete:
        files = describe_files(folder, list_files(folder))
        complete(root, Marker(step=step, layout=LAYOUT, files=files))
    return folder


def newest(root: Path, layout: dict[str, Any] = LAYOUT) -> tuple[int | None, list[str]]:
    told: list[str] = []
    found = find_newest(root, layout, told.append)
    return None if found is None else found.step, told


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (3, 20, 100):
        make(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-00000100"]
    assert newest(tmp_path) == (100, [])
    assert newest(tmp_path / "nowhere") == (None, [])


def test_an_unfinished_one_is_passed_over_and_cleared_by_the_next(tmp_path: Path) -> None:
    make(tmp_path, 3)
    make(tmp_path, 6, is_complete=False)
    assert newest(tmp_path) == (3, [])
    make(tmp_path, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000009"]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[17] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (flip_a_bit, "training/part has other content than was written"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "training/part has not 200 bytes"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: (path.parent.parent / MARKER).write_text("{", encoding="utf-8"), "cannot read"),
    ],
    ids=["bit", "end", "file", "marker"],
)
def test_a_damaged_one_is_named_and_the_one_before_taken(
    tmp_path: Path, damage: Callable[[Path], None], fault: str
) -> None:
    make(tmp_path, 3)
    folder = make(tmp_path, 6)
    damage(folder / "training" / "part")
    step, told = newest(tmp_path)
    assert step == 3
    assert len(told) == 1
    assert str(folder) in told[0]
    assert fault in told[0]


def test_one_that_was_made_otherwise_is_refused(tmp_path: Path) -> None:
    make(tmp_path, 3)
    with pytest.raises(ConfigError, match=r"ranks 2 there and 4 here.*delete that folder"):
        newest(tmp_path, {"ranks": 4})


def test_ranks_read_a_share_each_and_all_go_on_from_the_same(tmp_path: Path) -> None:
    for step in (3, 6):
        folder = make(tmp_path / "checkpoints", step)
    (folder / "rank-0.pt").write_bytes(b"stale")  # rank 1 reads it, for it is the smaller of two files
    start_ranks(2, finding.__file__, str(tmp_path / "checkpoints"), str(tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    assert first["step"] == second["step"] == 3
    assert first["told"] == [
        f"the checkpoint {folder} is damaged (rank-0.pt has other content than was written) and passed over."
    ]
    assert second["told"] == []
    steps = ("step-00000003", "step-00000006")
    assert first["read"] == [f"{step}/{name}" for step in steps for name in (MARKER, "training/part")]
    assert second["read"] == [f"{step}/rank-0.pt" for step in steps]
    assert "ranks 2 there and 4 here" in first["refused"]
    assert second["refused"] == first["refused"]


def recovery_of(folder: Path, **changes: Any) -> Recovery:
    return replace(Recovery(folder / "checkpoints", tell=lambda message: None), **changes)


def rows_of(path: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        del row["seconds"]
    return rows


@pytest.fixture(scope="module")
def whole(student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Metric rows and weights of the training that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    result, _, _ = train(student, CASE, Ranks(), folder / "m.jsonl")
    return rows_of(folder / "m.jsonl"), result.weights


def train_on(student: Path, folder: Path, whole: tuple[list[dict[str, float]], dict[str, Any]]) -> int:
    """Goes on with what `folder` holds, and compares; the step that it went on from."""
    told: list[str] = []
    result, _, _ = train(student, CASE, Ranks(), folder / "m.jsonl", recovery_of(folder, tell=told.append))
    assert rows_of(folder / "m.jsonl") == whole[0]
    assert all(torch.equal(weight, whole[1][name]) for name, weight in result.weights.items())
    steps = [int(message.split()[-1].rstrip(".")) for message in told if "goes on" in message]
    return steps[0] if steps else 0


def test_a_corrupt_newest_checkpoint_costs_only_steps(
    student: Path, tmp_path: Path, whole: tuple[list[dict[str, float]], dict[str, Any]]
) -> None:
    with pytest.raises(TrainingStopped):
        train(student, CASE, Ranks(), tmp_path / "m.jsonl", recovery_of(tmp_path, every_steps=2), stop_after=5)
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["step-00000004", "step-00000005"]
    flip_a_bit(kept[1] / "training")
    assert train_on(student, tmp_path, whole) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT], ids=lambda number: number.name)
def test_signals_save_and_stop(
    student: Path, tmp_path: Path, whole: tuple[list[dict[str, float]], dict[str, Any]], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    expected = KeyboardInterrupt if number == signal.SIGINT else TrainingStopped
    with pytest.raises(expected):
        train(student, CASE, Ranks(), tmp_path / "m.jsonl", recovery_of(tmp_path), stop_after=2, how=number)
    assert signal.getsignal(number) == before
    assert train_on(student, tmp_path, whole) == 2


def test_a_signal_in_the_last_step_is_obeyed_when_the_result_is_safe(
    student: Path, tmp_path: Path, whole: tuple[list[dict[str, float]], dict[str, Any]]
) -> None:
    before, kept = signal.getsignal(signal.SIGINT), list[Callable[[], None]]()
    late = recovery_of(tmp_path, keep=kept.append)
    result, _, _ = train(student, CASE, Ranks(), tmp_path / "m.jsonl", late, stop_after=6, how=signal.SIGINT)
    assert all(torch.equal(weight, whole[1][name]) for name, weight in result.weights.items())
    with pytest.raises(KeyboardInterrupt):
        kept[0]()
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(KeyboardInterrupt):  # nobody has more to save
        train(student, CASE, Ranks(), tmp_path / "m.jsonl", recovery_of(tmp_path), stop_after=6, how=signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_after_the_last_step_waits_for_the_result(
    student: Path, tmp_path: Path, number: signal.Signals
) -> None:
    heard, kept = list[int](), list[Callable[[], None]]()
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        train(student, CASE, Ranks(), tmp_path / "m.jsonl", recovery_of(tmp_path, keep=kept.append))
        signal.raise_signal(number)
        assert heard == []
        kept[0]()
        assert heard == [number]
    finally:
        signal.signal(number, before)


def test_a_time_limit_saves_before_it_is_reached(
    student: Path, tmp_path: Path, whole: tuple[list[dict[str, float]], dict[str, Any]]
) -> None:
    deadline = time.time() + 0.001
    with pytest.raises(TrainingStopped, match="after step 1 of 6 and stopped for its time limit") as stopped:
        train(student, CASE, Ranks(), tmp_path / "m.jsonl", recovery_of(tmp_path, deadline=deadline))
    assert stopped.value.exit_code == 75
    assert train_on(student, tmp_path, whole) == 1
    late = recovery_of(tmp_path / "late", deadline=time.time() + 3600)
    assert train(student, CASE, Ranks(), tmp_path / "m.jsonl", late)[0].steps == 6


def test_a_save_that_takes_long_begins_so_much_earlier(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that takes a second, fifty times as long as a step: the first save, and that of a second start."""
    saved, case = list[list[str]](), replace(CASE, steps=1000)

    def describe_slowly(folder: Path, names: list[str]) -> dict[str, Any]:
        saved.append(names)
        time.sleep(1)
        return describe_files(folder, names)

    monkeypatch.setattr(checkpoints, "describe_files", describe_slowly)
    for saves in (2, 1):  # after the first step, and at the end; at the end alone
        deadline = time.time() + 7
        with pytest.raises(TrainingStopped, match="of 1000 and stopped for its time limit"):
            train(student, case, Ranks(), tmp_path / "m.jsonl", recovery_of(tmp_path, deadline=deadline))
        assert deadline - 3 < time.time() < deadline
        assert len(saved) == saves
        saved.clear()


def test_a_deadline_that_the_first_save_has_reached_is_not_passed_by_another_step(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "list_files", lambda folder: time.sleep(0.6) or list_files(folder))
    near = recovery_of(tmp_path, deadline=time.time() + 1.0)
    with pytest.raises(TrainingStopped, match="after step 1 of 6 and"):
        train(student, CASE, Ranks(), tmp_path / "m.jsonl", near)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def killed_at(event: int, student: Path, folder: Path) -> bool:
    """Trains in a process of its own that is killed at its `event`-th change to the checkpoints; False: it had fewer."""
    if (pid := os.fork()) == 0:
        seen = 0

        def watch(name: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            is_write = name in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree") or (
                name == "open" and isinstance(arguments[1], str) and arguments[1].strip("b") in ("w", "x", "w+")
            )
            if is_write and "checkpoints" in str(arguments[0]):
                seen += 1
                if seen == event:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        folder.mkdir(exist_ok=True)
        try:
            train(student, CASE, Ranks(), folder / "m.jsonl", recovery_of(folder, every_steps=1))
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.slow
def test_killed_between_any_two_writes_it_goes_on_as_if_nothing_had_been(
    student: Path, tmp_path: Path, whole: tuple[list[dict[str, float]], dict[str, Any]]
) -> None:
    event, began = 1, []
    while killed_at(event, student, tmp_path / str(event)):
        began.append(train_on(student, tmp_path / str(event), whole))
        event += 1
    assert event > 30
    assert set(began) == {0, 1, 2, 3, 4, 5}
    assert began == sorted(began)


@pytest.mark.parametrize("event", [2, 9, 17])
def test_killed_while_it_saves(
    student: Path, tmp_path: Path, whole: tuple[list[dict[str, float]], dict[str, Any]], event: int
) -> None:
    """Three of the places of the slow test above."""
    assert killed_at(event, student, tmp_path)
    train_on(student, tmp_path, whole)
