"""Signs of life of real processes; which of several ranks is to blame; when a guard ends a start."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ranked_runs import calls_until_sft

from configurations import configure
from medcritical.config.schema import ClusterConfig
from medcritical.pipeline import guard, nodes
from medcritical.pipeline.execute import call_file
from medcritical.pipeline.guard import Guard, Signs
from medcritical.pipeline.nodes import Ending, failure_path, pid_path
from medcritical.pipeline.rank import WORK, RankFailure, RankWork
from medcritical.pipeline.reasons import Outcome, find_reason
from medcritical.pipeline.worker import Event
from medcritical.store import read_json, write_json

PATIENCE = 20.0  # seconds

RANK = """
import sys, time
from pathlib import Path
from medcritical.pipeline.guard import give_signs
path = Path(sys.argv[1])
path.write_text("1")
give_signs(path, timeout_seconds=2.0)
time.sleep(60)
"""


@pytest.fixture
def living(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is rank 0 of the start in `tmp_path`, as far as anybody can see."""
    process = subprocess.Popen([sys.executable, "-c", RANK, str(pid_path(tmp_path, 0))])
    while not pid_path(tmp_path, 0).is_file():
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def cluster(node_rank: int = 0, timeout_seconds: float = 2.0) -> ClusterConfig:
    endpoint = "cluster.rdzv_endpoint=h:1000"
    overrides = ("cluster=torchrun", "cluster.nnodes=2", f"cluster.node_rank={node_rank}", endpoint)
    return configure(*overrides, f"cluster.timeout_seconds={timeout_seconds}").cluster


def look_until(signs: Signs, is_so: Callable[[dict[int, float]], bool]) -> bool:
    """True when what was seen is so, within a time that is long even on a busy machine."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.05)
        signs.look()
        if is_so(signs.quiet):
            return True
    return False


def test_a_process_that_is_stopped_gives_no_sign(tmp_path: Path, living: subprocess.Popen[bytes]) -> None:
    signs = Signs(tmp_path, every=0.0)
    for _ in range(3):
        assert look_until(signs, lambda quiet: quiet[0] > 0)
        assert look_until(signs, lambda quiet: quiet[0] == 0)
    living.send_signal(signal.SIGSTOP)
    assert look_until(signs, lambda quiet: quiet[0] > 1.0)
    living.send_signal(signal.SIGCONT)
    assert look_until(signs, lambda quiet: quiet[0] == 0)
    living.send_signal(signal.SIGSTOP)
    time.sleep(2.5 * nodes.POLL_SECONDS)  # nobody listens for so long
    signs.look()
    assert signs.quiet[0] <= 2 * nodes.POLL_SECONDS
    pid_path(tmp_path, 0).unlink()  # it has ended well
    assert look_until(signs, lambda quiet: quiet == {})


def test_the_store_is_asked_about_ranks_no_oftener_than_they_give_signs(
    tmp_path: Path, living: subprocess.Popen[bytes]
) -> None:
    signs = Signs(tmp_path, every=1.0)
    signs.look()
    assert signs.quiet == {}
    time.sleep(1.0)
    signs.look()
    assert signs.quiet == {0: 0.0}
    living.kill()
    time.sleep(0.6)
    signs.look()
    assert signs.quiet == {0: 0.0}
    assert look_until(signs, lambda quiet: quiet[0] >= 1.0)


def test_a_guard_ends_what_waits_for_a_stopped_rank(tmp_path: Path, living: subprocess.Popen[bytes]) -> None:
    watching, killed = Guard(tmp_path, cluster()), threading.Event()
    with watching.guarding(killed.set):
        assert not killed.wait(0.6)
        living.send_signal(signal.SIGSTOP)
        assert killed.wait(PATIENCE)
    assert watching.lost_ranks() == [0]


def test_a_failure_ends_a_start_after_a_while_and_on_other_machines_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "REPORT_SECONDS", 2.0)
    killed = [threading.Event(), threading.Event()]
    first, second = (Guard(tmp_path, cluster(node_rank, timeout_seconds=60)) for node_rank in (0, 1))
    with first.guarding(killed[0].set), second.guarding(killed[1].set):
        assert not killed[0].wait(2 * nodes.POLL_SECONDS)
        nodes.report_loss(tmp_path, 1, 1)
        assert not killed[0].wait(0.5)  # others may have something to say yet
        assert killed[0].wait(PATIENCE)
        assert not killed[1].is_set()
        nodes.end(tmp_path, Ending("it failed"))
        assert killed[1].wait(PATIENCE)


@pytest.mark.parametrize("node_rank", [0, 1])
def test_ranks_have_time_to_end_when_the_artefact_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node_rank: int
) -> None:
    monkeypatch.setattr(guard, "END_SECONDS", 1.5)
    start, killed = tmp_path / "start", threading.Event()
    start.mkdir()
    with Guard(start, cluster(node_rank)).guarding(killed.set):
        start.rmdir()
        assert not killed.wait(0.7)
        assert killed.wait(PATIENCE)


def test_a_rank_ends_with_its_command(tmp_path: Path) -> None:
    """Killed with -9 it cannot tell anybody; nothing of it may be at work when the next one comes."""
    code = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {RANK!r}, sys.argv[1]]); time.sleep(60)"
    )
    path = pid_path(tmp_path, 0)
    command = subprocess.Popen([sys.executable, "-c", code, str(path)])
    while not path.is_file():
        time.sleep(0.02)
    command.kill()
    command.wait()
    signs = Signs(tmp_path, every=0.0)
    assert look_until(signs, lambda quiet: quiet[0] > 1.0)


def fail(start: Path, rank: int, message: str, *, lost_peer: bool = True, timed_out: bool = False) -> None:
    event = Event(kind="failed", key="k", exit_code=1, message=message)
    failure = RankFailure(rank=rank, time=float(rank), lost_peer=lost_peer, timed_out=timed_out, event=event)
    write_json(failure_path(start, rank), failure)


def test_a_rank_of_a_wrong_number_of_ranks_says_so_before_it_loads_anything(tmp_path: Path) -> None:
    (call,) = [call for call in calls_until_sft() if call.ref.stage == "sft"]
    work = RankWork(
        store=str(tmp_path),
        trainer={},
        call=call_file(call),
        strategy="auto",
        world_size=2,
        timeout_seconds=2.0,
        deadline=None,
    )
    write_json(tmp_path / WORK, work)
    command = [sys.executable, "-m", "medcritical.pipeline.rank", str(tmp_path)]
    assert subprocess.run(command, env={**os.environ, "RANK": "1", "WORLD_SIZE": "3"}).returncode == 2
    failure = read_json(failure_path(tmp_path, 1), RankFailure)
    assert failure.event.message.startswith("3 ranks were started, but machine 0 counts on 2: give all machines")


CLUSTER = configure("cluster=torchrun", "cluster.nproc_per_node=2", "cluster.timeout_seconds=30").cluster
CLOSED, TIMED_OUT, OWN = "RuntimeError: Connection closed by peer", "RuntimeError: Timed out", "ValueError: a bug"


@pytest.mark.parametrize(
    ("failed", "lost", "reason"),
    [
        ({0: CLOSED, 1: OWN}, [], "failed: ValueError: a bug"),
        ({0: CLOSED}, [], "failed: rank 1 died without a word, as when it is killed"),
        ({0: TIMED_OUT}, [1], "failed: rank 1 of 2 did not answer for 30 seconds (cluster.timeout_seconds) and gave no sign"),
        ({}, [1], "failed: rank 1 of 2 did not answer for 30 seconds"),
        ({0: TIMED_OUT}, [], "failed: rank 1 of 2 did not answer rank 0 for 30 seconds (cluster.timeout_seconds), though still"),
        ({0: TIMED_OUT, 1: TIMED_OUT}, [], "failed: ranks 0, 1 of 2 waited for 30 seconds"),
        ({}, [], "failed: ranks 0, 1 died without a word"),
    ],
)  # fmt: skip
def test_the_first_cause_is_told(tmp_path: Path, failed: dict[int, str], lost: list[int], reason: str) -> None:
    (call,) = [call for call in calls_until_sft() if call.ref.stage == "sft"]
    for rank in (0, 1):
        pid_path(tmp_path, rank).write_text("1", encoding="utf-8")
    for rank, message in failed.items():
        fail(tmp_path, rank, message, lost_peer=message is not OWN, timed_out=message is TIMED_OUT)
    assert reason in str(find_reason(call, tmp_path, CLUSTER, Outcome("torchrun", 1, lost), Path("worker.log")))


@pytest.mark.parametrize(
    ("absent", "failed", "known", "reason", "exit_code"),
    [
        ([], [], [], "failed: srun ended (exit status 1)", 1),
        ([], [1], [], "failed: no rank began, and srun ended first on machine 1; its output is in worker.log of", 1),
        ([1], [], [], "failed: machine 1 of 2 did not come within cluster.timeout_seconds=2: start the same command", 2),
        ([1], [], [1], "failed: machine 1 of 2 did not come within", 1),  # it has been there, and may come back
    ],
)  # fmt: skip
def test_without_any_rank_a_machine_or_the_launcher_is_named(
    tmp_path: Path, absent: list[int], failed: list[int], known: list[int], reason: str, exit_code: int
) -> None:
    (call,) = [call for call in calls_until_sft() if call.ref.stage == "sft"]
    for machine in failed:
        nodes.report_loss(tmp_path, machine, 1)
    told = find_reason(call, tmp_path, cluster(), Outcome("srun", 1, absent=absent), Path("worker.log"), known)
    assert reason in str(told)
    assert told.exit_code == exit_code


def test_a_machine_that_does_not_come_ends_a_start_and_one_that_has_come_does_not(tmp_path: Path) -> None:
    killed = [threading.Event(), threading.Event()]
    missed, met = (Guard(tmp_path / name, cluster()) for name in ("missed", "met"))
    for guard_ in (missed, met):
        guard_.start.mkdir()
    nodes.join(met.start, 1)
    with missed.guarding(killed[0].set), met.guarding(killed[1].set):
        assert killed[0].wait(PATIENCE)
        assert missed.absent == [1]
        assert not killed[1].wait(1.0)
    nodes.join(tmp_path / "gone", 1)  # of an artefact that is complete
    assert not (tmp_path / "gone").exists()
