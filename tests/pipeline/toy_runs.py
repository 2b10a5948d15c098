"""Runs of experiments/toy.yaml through the real command."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

MEDCRITICAL = [sys.executable, "-c", "from medcritical.cli.main import main; main()"]
COMMAND = [*MEDCRITICAL, "experiments=toy"]
SWEEP = [*MEDCRITICAL, "-m"]
STATUS = [sys.executable, "-c", "import sys; from medcritical.cli.sweep import main; sys.exit(main())", "status"]

FAILING = [
    "data=jsonl",
    "teacher=recorded",
    "teacher.files=[empty.jsonl]",
    "student=qwen2_5_7b",
    f"student.revision={'a' * 40}",  # a commit is looked up nowhere
    "template=detailed_en",
]
FAILING += ["sft=pretrained", "dpo=pretrained", "trainer=pretrained", "generation=chat", "arm=dpo_self"]
FAILING += ["data.files.test=[empty.jsonl]", "data.split=seeded", "data.sizes.dev=2", "data.sizes.test=4"]
"""A run whose first stage fails where empty.jsonl is empty, before anything heavy is loaded."""


@dataclass(frozen=True)
class Run:
    """A run that ended: its folder, what it printed, how long it took (seconds)."""

    folder: Path
    stdout: str
    stderr: str
    seconds: float


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "MEDCRITICAL_STORE": str(root / "store"), "WANDB_MODE": "offline", "PYTHONUTF8": "1"}


def run_toy(root: Path, *overrides: str) -> Run:
    start = time.monotonic()
    done = subprocess.run(
        [*COMMAND, f"paths.outputs={root / 'outputs'}", *overrides],
        env=environment(root),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    summary = Path(done.stdout.splitlines()[-1])
    return Run(summary.parent, done.stdout, done.stderr, time.monotonic() - start)


def interrupt_toy(root: Path, when: str, how: signal.Signals, *overrides: str, delay: float = 0.5) -> tuple[int, str]:
    """Start a run, send a signal `delay` seconds after a line with `when` appears; exit status and stderr."""
    process = subprocess.Popen(
        [*COMMAND, f"paths.outputs={root / 'outputs'}", *overrides],
        env=environment(root),
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if re.search(when, line):
            time.sleep(delay)  # by default somewhere inside the next stage
            process.send_signal(how)
            seen += process.stderr.read()
    return process.wait(60), seen


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run(root: Path, *command: str, store: Path, timeout: float = 280) -> Ended:
    done = subprocess.run(
        command, env=environment(store.parent), cwd=root, capture_output=True, text=True, timeout=timeout
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def status_of(folder: Path) -> Any:
    return json.loads(run(folder, *STATUS, str(folder), "--json", store=folder).out)
