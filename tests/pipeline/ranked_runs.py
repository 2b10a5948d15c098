"""Stage 1 by ranks, and whole commands of them, small enough for tests; and ranks that fail where a test wants it."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from configurations import configure
from medcritical.pipeline.execute import LocalExecutor
from medcritical.pipeline.plan import StageCall, make_plan
from medcritical.pipeline.ranked import RankExecutor
from medcritical.pipeline.watch import Watcher
from medcritical.store import Store

SMALL = (
    "data.sizes.train=200",
    "sft.templates=40",
    "sft.correction=null",
    "sft.epochs=null",
    "sft.steps=60",
    "sft.warmup_steps=5",
    "selfplay.questions=20",
    "trainer.log_every_n_steps=1",
    "trainer.checkpoint_every_steps=10",
    "trainer.accelerator=cpu",
)
RANKS = ("cluster=torchrun", "cluster.nproc_per_node=2", "cluster.timeout_seconds=60")
PATIENCE = 900  # seconds for a whole command; a minute each on an idle machine

_FAULTS = Path(__file__).parent / "faults"


class Shown(io.StringIO):
    """What a person is shown, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[tuple[float, str]] = []

    def write(self, text: str) -> int:
        """Keep it with the time (seconds since the epoch)."""
        self.moments.append((time.time(), text))
        return super().write(text)

    def when(self, words: str) -> float:
        """When something with these words was first shown."""
        return next(moment for moment, text in self.moments if words in text)


def calls_until_sft(*overrides: str) -> list[StageCall]:
    """Questions, student, templates, stage 1."""
    calls = make_plan(configure(*SMALL, *overrides), {}).calls
    before = takewhile(lambda call: call.ref.stage != "sft", calls)
    before = [call for call in before if call.ref.stage not in ("answer", "score")]
    return [*before, next(call for call in calls if call.ref.stage == "sft")]


def execute(root: Path, *overrides: str) -> tuple[Store, StageCall, Shown]:
    """Makes stage 1; its store and call, and what a person was shown."""
    calls, shown, store = calls_until_sft(*overrides), Shown(), Store(root / "store")
    (root / "run").mkdir(parents=True, exist_ok=True)
    config = configure(*SMALL, *overrides)
    executor = (
        RankExecutor(store, root / "run", config)
        if RANKS[0] in overrides
        else LocalExecutor(store.root, root / "run", config)
    )
    missing = [call for call in calls if not store.is_complete(call.ref)]
    executor.execute(missing, Watcher(calls, len(calls) - len(missing), shown))
    return store, calls[-1], shown


def rows_of(store: Store, call: StageCall) -> list[dict[str, float]]:
    """The metric rows of a training."""
    path = store.folder(call.ref) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fault(marker: Path, rank: int, signal: str, words: str, seconds: float = 0.0) -> dict[str, str]:
    """Environment in which a rank, when it first opens a file with `words` in its path, sends itself a signal: once.

    It does so `seconds` later. `marker` then holds the time at which it opened the file (seconds since the epoch).
    """
    path = os.pathsep.join([str(_FAULTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "MEDCRITICAL_TEST_FAULT": f"{rank} {signal} {seconds} {words} {marker}"}


def start_command(root: Path, *overrides: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """`medcritical experiments=toy` with its store and outputs below `root`; `before`: what is put before the command.

    Where the overrides name no arm it is one iteration of self-play.
    """
    arm = () if any(word.startswith("arm=") for word in overrides) else ("arm=dpo_self", "selfplay.iterations=1")
    code = "import sys; from medcritical.cli.main import main; sys.argv[0] = 'medcritical'; main()"
    command = [
        *(*before, sys.executable, "-c", code, "experiments=toy", *arm),
        *(f"paths.store={root / 'store'}", f"paths.outputs={root / 'outputs'}", "trainer.accelerator=cpu"),
        *("sft.correction=null", *overrides),
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)


def trained_models(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and weights of every trained model in the store below `root`."""
    for stage in ("sft", "dpo"):
        for path in sorted((root / "store" / stage).glob("*/model/model.safetensors")):
            yield f"{stage}/{path.parent.parent.name}", load_file(path)
