"""A whole small self-play loop whose attempts a judge decides on, over HTTP, with failures of single items."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chat_server import ChatServer, text_of
from medcritical.reporting.summary import Summary, read_summary

COMMAND = [sys.executable, "-c", "from medcritical.cli.main import main; main()", "experiments=toy"]
SMALL = [
    "arm=dpo_self",
    "verifier=judge",
    "engine@verifier.judge.engine=server",
    "verifier.judge.engine.model=strict/judge",
    "verifier.judge.engine.retries=1",
    "verifier.judge.engine.backoff=0.01",
    "data.sizes={train: 200, dev: 1, test: 40}",
    "sft.templates=100",
    "sft.epochs=4",
    "sft.correction.questions=20",
    "selfplay.questions=40",
    "dpo.steps=5",
]


def part(text: str, tag: str) -> str:
    return text.split(f"<{tag}>")[1].split(f"</{tag}>")[0].strip()


def draw(reply: str, sides: int) -> int:
    """A die that depends on the reply alone, as the prompt or the attempt has it."""
    return zlib.crc32(re.sub(r"[^a-z0-9]", "", reply).encode()) % sides


def decide(request: dict[str, Any]) -> str:
    """Right when the reply ends on the key's text; one reply in ten is judged the other way, one gets no decision."""
    reply = part(text_of(request), "reply")
    gold = part(text_of(request), "right_answer").partition(" ")[2].strip(" .")
    is_right = gold in reply.split("answer")[-2] if "answer" in reply else False
    side = draw(f"opinion of {reply}", 10)
    return "I cannot tell." if side == 0 else "1" if is_right != (side == 1) else "2"


def misbehave(request: dict[str, Any], before: int) -> str:
    """Some items are refused for good, some fail every time, some only once."""
    side = draw(part(text_of(request), "reply"), 20)
    return {0: "400", 1: "500", 2: "" if before else "truncated"}.get(side, "")


def write_decision(request: dict[str, Any]) -> dict[str, Any]:
    choices = [{"message": {"content": decide(request)}, "finish_reason": "stop"} for _ in range(request["n"])]
    return {"choices": choices, "usage": {"prompt_tokens": 50, "completion_tokens": 1}}


@dataclass(frozen=True)
class Judged:
    """A run that ended and the judge's own books."""

    root: Path
    summary: Summary
    folder: Path
    stderr: str
    server: ChatServer

    def attempts(self) -> Iterator[dict[str, Any]]:
        """Everything that was judged: attempts, corrections, predictions."""
        for path in [
            *self.root.glob("store/play/*/attempts.jsonl"),
            *self.root.glob("store/score/*/predictions.jsonl"),
        ]:
            yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())
        for path in self.root.glob("store/play/*/corrections.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                yield json.loads(line)["corrected"]


def run_judged(root: Path, server: ChatServer, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *SMALL, f"verifier.judge.engine.url={server.url}", f"paths.outputs={root / 'outputs'}", *overrides],
        env={**os.environ, "MEDCRITICAL_STORE": str(root / "store"), "WANDB_MODE": "offline", "PYTHONUTF8": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    root = tmp_path_factory.mktemp("judged")
    with ChatServer(misbehave) as server:
        server.write = write_decision
        done = run_judged(root, server)
        assert done.returncode == 0, done.stderr
        summary = Path(done.stdout.splitlines()[-1])
        yield Judged(root, read_summary(summary), summary.parent, done.stderr, server)


def test_the_loop_ends_with_failures_of_the_judge_undecided(judged: Judged) -> None:
    assert [(row.arm, row.iteration) for row in judged.summary.rows][-2:] == [("dpo_self", 1), ("dpo_self", 2)]
    assert {row.verifier for row in judged.summary.rows} == {"strict/judge"}
    failed = [
        attempt for attempt in judged.attempts() if attempt["text"].strip() and draw(attempt["text"], 20) in (0, 1)
    ]
    assert len(failed) > 5
    assert {attempt["judgement"] for attempt in failed} == {"undecided"}
    assert not any(attempt["is_correct"] for attempt in failed)
    assert judged.server.faults["400"] > 0
    assert judged.server.faults["500"] > 0
    assert re.search(r"ALARM: The judge gave no reply on \d+ of \d+ answers, which stay undecided", judged.stderr)


def test_no_undecided_attempt_is_in_a_pair(judged: Judged) -> None:
    undecided = {attempt["text"] for attempt in judged.attempts() if attempt["judgement"] == "undecided"}
    decided = {attempt["text"] for attempt in judged.attempts() if attempt["judgement"] in ("right", "wrong")}
    pairs = [
        json.loads(line)
        for path in judged.root.glob("store/pair/*/pairs.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert pairs
    for pair in pairs:
        assert pair["rejected"] not in undecided - decided
        assert pair["chosen"] not in undecided - decided


def test_the_agreement_table_counts_what_rule_and_judge_said(judged: Judged) -> None:
    with (judged.folder / "agreement.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * len(judged.summary.rows)
    for row, start in zip(judged.summary.rows, range(0, len(lines), 3), strict=True):
        path = judged.summary.predictions_path(judged.folder, row.artefact)
        assert path is not None
        predictions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        counts = Counter((rule_of(prediction), prediction["judgement"]) for prediction in predictions)
        for line in lines[start : start + 3]:
            said = [int(line[name]) for name in ("judge right", "judge wrong", "undecided")]
            assert said == [counts[line["rule found"], judgement] for judgement in ("right", "wrong", "undecided")]
        assert row.undecided == sum(prediction["judgement"] == "undecided" for prediction in predictions)
        assert row.num_correct == sum(prediction["judgement"] == "right" for prediction in predictions)
    assert any(line["rule found"] == "right" and int(line["judge wrong"]) for line in lines)


def rule_of(prediction: dict[str, Any]) -> str:
    if prediction["letters"] is None:
        return "unparsed"
    return "right" if prediction["letters"] == prediction["question"]["answer"] else "wrong"


def test_a_judge_that_is_gone_stops_the_run_with_one_sentence(judged: Judged) -> None:
    with ChatServer() as server:
        pass
    done = run_judged(judged.root, server, "verifier.judge.engine.model=other")
    assert done.returncode == 2
    assert "ConnectError" in done.stderr
    assert "Traceback" not in done.stderr
