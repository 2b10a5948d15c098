"""A run whose answers are made by two ranks, one of which is killed in between, ends like that of one process."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from toy_runs import COMMAND, environment, run_toy

RUN = ("arm=dpo_self", "selfplay.iterations=1", "trainer.accelerator=cpu")
RANKS = ("cluster=torchrun", "cluster.nproc_per_node=2", "cluster.timeout_seconds=120", "engine.keep_every=16")


def kill_a_rank_that_plays(store: Path) -> threading.Thread:
    """Kills rank 1, once, when the ranks have kept some answers of one `play`."""

    def kill() -> None:
        while not (kept := list(store.glob("play/.*.unfinished/answers/*/0000[2-9]-of-*.json.gz"))):
            time.sleep(0.02)
        (pid,) = kept[0].parents[2].glob("start-0000/rank-1.pid")
        os.kill(int(pid.read_text(encoding="utf-8")), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def files_of(store: Path, stage: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted((store / stage).glob("*/*"))
        if path.name != "manifest.json"
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_ranks_answer_as_one_process_does_though_one_of_them_is_killed(tmp_path: Path) -> None:
    """With the checkpoints of one process: what ranks train differs in the last digits."""
    alone = run_toy(tmp_path, *RUN)
    table, store = (alone.folder / "table.csv").read_bytes(), tmp_path / "store"
    answers = {stage: files_of(store, stage) for stage in ("play", "answer", "score")}
    assert all(len(files) >= 3 for files in answers.values())
    for stage in ("play", "answer", "score", "report"):
        shutil.rmtree(store / stage)
    killer = kill_a_rank_that_plays(store)
    ended = subprocess.run(
        [*COMMAND, f"paths.outputs={tmp_path / 'again'}", *RUN, *RANKS],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert ended.returncode == 0, ended.stderr
    killer.join(timeout=1)
    assert len(re.findall("play .* failed: rank 1 died without a word", ended.stderr)) == 1
    assert "starting again, 1 of 2 times, from what was kept" in ended.stderr
    assert {stage: files_of(store, stage) for stage in ("play", "answer", "score")} == answers
    assert (Path(ended.stdout.splitlines()[-1]).parent / "table.csv").read_bytes() == table
    assert not list(store.glob("*/.*.unfinished"))
