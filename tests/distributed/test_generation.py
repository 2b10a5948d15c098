"""Two ranks that play and answer write what one process writes, ask for nothing twice, and keep what is whole."""

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import generations
import msgspec
import pytest

from configurations import configure
from medcritical.config.choices import EngineKind
from medcritical.config.load import to_plain
from medcritical.config.schema import EngineConfig
from medcritical.config.stages import AnswerStage, PlayStage, StageConfig
from medcritical.pipeline.execute import call_file
from medcritical.pipeline.plan import StageCall, make_plan
from medcritical.pipeline.worker import CallFile, run_stage
from medcritical.records import Answered, Attempt
from medcritical.stages.context import Output
from medcritical.store import Costs, Store, read_records

TESTS = Path(__file__).parents[1]
SMALL = (
    *("data.sizes.train=60", "data.sizes.dev=0", "data.sizes.test=31", "sft.templates=20", "sft.correction=null"),
    *("selfplay.questions=25", "selfplay.iterations=1", "trainer.accelerator=cpu"),
    *("generation.max_new_tokens=12", "generation.correction_max_new_tokens=12", "engine.keep_every=20"),
)
PLAY, ANSWER, ORDERS, SERVED, SERVED_TOGETHER, VOTES, JUDGED = range(7)


class Made(NamedTuple):
    """What one process and two ranks made of the same calls, and what their servers were asked."""

    alone: Path
    ranks: Path
    asked: Path


def prepared(store: Store) -> dict[str, StageCall]:
    """The first call of every stage, with questions and an untrained student in the store in place of what they read."""
    calls = {call.ref.stage: call for call in reversed(make_plan(configure(*SMALL), {}).calls)}
    for stage in ("prepare", "student"):
        call = calls[stage]
        with store.build(call.ref) as folder:
            run_stage(call_file(call), store, Output(folder, generations.TRAINER, lambda *_: None))
            store.complete(call.ref, version=1, config={}, inputs={}, facts={}, costs=Costs())
    student = calls["student"].ref
    roles = ("policy", "corrector", "checkpoint")
    for stage in ("play", "answer"):
        inputs = {role: student if role in roles else ref for role, ref in calls[stage].inputs.items()}
        calls[stage] = dataclasses.replace(calls[stage], inputs=inputs)
    return calls


def served(engine: EngineConfig, asked: Path, gpus: int) -> EngineConfig:
    """A server of the tests' own in place of another engine."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    command = [
        "env",
        f"PYTHONPATH={path}",
        sys.executable,
        generations.__file__,
        "{port}",
        str(asked),
        "{gpus}",
        "{model}",
    ]
    return dataclasses.replace(engine, kind=EngineKind.managed, command=command, gpus=gpus, start_timeout=60)


def with_server(stage: AnswerStage, asked: Path, gpus: int) -> AnswerStage:
    """The stage with a server as its student, asked in two further orders of the options."""
    return dataclasses.replace(stage, engine=served(stage.engine, asked, gpus), orders=3)


def with_judge(stage: PlayStage, asked: Path) -> PlayStage:
    """The stage with a server as judge beside its embedded student."""
    engine = "verifier.judge.engine"
    judged = configure(*SMALL, "verifier=judge", f"{engine}.url=http://127.0.0.1:1/v1", f"{engine}.model=m")
    judge = judged.verifier.judge
    assert judge is not None
    judge = dataclasses.replace(judge, engine=served(judge.engine, asked, 1))
    return dataclasses.replace(stage, verifier=dataclasses.replace(judged.verifier, judge=judge))


def start_ranks(store: Path, calls: Path, folder: Path, *meetings: Sequence[str]) -> None:
    """Two ranks on each of several machines, which are commands here; each is told how they meet."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    started = [
        subprocess.Popen(
            [*command, *meeting, generations.__file__, *map(str, (store, calls, folder))],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for meeting in meetings
    ]
    for process in started:
        told, _ = process.communicate(timeout=280)
        assert process.returncode == 0, told


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("generation")
    found = Made(root / "alone", root / "ranks", root / "asked")
    store, calls = Store(root / "store"), prepared(Store(root / "store"))
    play, answer = calls["play"].config, calls["answer"].config
    assert isinstance(play, PlayStage)
    assert isinstance(answer, AnswerStage)
    for name in ("1", "2", "machines", "judge"):
        (found.asked / name).mkdir(parents=True)
    stages: dict[int, StageConfig] = {
        PLAY: dataclasses.replace(play, budget=60),
        ANSWER: answer,
        ORDERS: dataclasses.replace(answer, orders=3),
        SERVED: with_server(answer, found.asked / "1", gpus=1),
        SERVED_TOGETHER: with_server(answer, found.asked / "2", gpus=2),
        VOTES: dataclasses.replace(answer, samples=3, temperature=1.0),
        JUDGED: with_judge(dataclasses.replace(play, budget=60), found.asked / "judge"),
    }
    files = [call_file(dataclasses.replace(calls[stage.stage], config=stage)) for _, stage in sorted(stages.items())]
    (root / "calls.json").write_bytes(msgspec.json.encode(files))
    start_ranks(store.root, root / "calls.json", found.ranks, ["--standalone"])
    embedded = [file if number in (PLAY, ANSWER, ORDERS, VOTES, JUDGED) else None for number, file in enumerate(files)]
    make_alone(store, embedded, found.alone)
    return found


def make_alone(store: Store, calls: list[CallFile | None], folder: Path) -> None:
    """By this process, in one share: no folder to keep anything in."""
    for number, call in enumerate(calls):
        if call is not None:
            output = Output(folder / str(number), generations.TRAINER, lambda *_: None)
            run_stage(call, store, output)
            costs = msgspec.to_builtins(output.costs(0.0))
            (output.folder / "costs.json").write_text(json.dumps(costs), encoding="utf-8")


@pytest.mark.parametrize("number", [PLAY, ANSWER, ORDERS, VOTES, JUDGED])
def test_two_ranks_write_what_one_process_writes(made: Made, number: int) -> None:
    """Byte by byte, with tokens counted once."""
    alone, ranks = (folder / str(number) for folder in (made.alone, made.ranks))
    names = sorted(path.name for path in alone.iterdir())
    assert names == sorted(path.name for path in ranks.iterdir())
    assert len(names) > 1
    for name in names:
        assert (alone / name).read_bytes() == (ranks / name).read_bytes(), name
    assert json.loads((ranks / "costs.json").read_text())["student_tokens"] > 0


def test_large_files_of_records_are_cut_and_compressed(made: Made) -> None:
    files = sorted(path.name for path in (made.ranks / str(PLAY)).glob("attempts*"))
    assert files == [f"attempts-0000{part}-of-00002.jsonl.gz" for part in range(2)], "forty a file"
    attempts = read_records(made.ranks / str(PLAY) / "attempts.jsonl", Attempt)
    assert 40 < len(attempts) <= 80
    assert len({attempt.question.id for attempt in attempts}) == 25


def requests(folder: Path) -> list[list[dict[str, Any]]]:
    """What each server was asked."""
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in sorted(folder.glob("*.jsonl"))]


@pytest.mark.parametrize(("folder", "number", "devices"), [("1", SERVED, ["0", "1"]), ("2", SERVED_TOGETHER, ["0,1"])])
def test_every_server_gets_its_gpus_and_nothing_is_asked_twice(
    made: Made, folder: str, number: int, devices: list[str]
) -> None:
    asked = requests(made.asked / folder)
    assert sorted(each[0]["CUDA_VISIBLE_DEVICES"] for each in asked) == devices
    assert {(line["gpus"], line["RANK"], line["MASTER_ADDR"]) for each in asked for line in each} == {
        (folder, None, None)
    }
    prompts = Counter(line["prompt"] for each in asked for line in each)
    assert max(prompts.values()) == 1
    assert sum(prompts.values()) == 31 * 2
    assert all(len(each) >= 31 * 2 // len(devices) - 2 for each in asked)
    answers = read_records(made.ranks / str(number) / "answers.jsonl", Answered)
    texts = [completion.text for answered in answers for completion in answered.completions]
    assert [text.startswith("answer to ") for text in texts] == [True] * 31 * 2


def test_judge_and_student_are_not_taken_for_each_other(made: Made) -> None:
    """Both are open at once. What the ranks' judges had said when one process played was not asked again."""
    asked = requests(made.asked / "judge")
    assert len(asked) == 2
    assert max(Counter(line["prompt"] for each in asked for line in each).values()) == 1
    attempts = read_records(made.ranks / str(JUDGED) / "attempts.jsonl", Attempt)
    assert {attempt.judgement for attempt in attempts if attempt.text.strip()} == {"undecided"}
    assert not any(attempt.text.startswith("answer to") for attempt in attempts)
    assert all("<reply>" in line["prompt"] for each in asked for line in each)


@pytest.mark.slow
def test_two_machines_of_two_ranks_have_one_server_each(made: Made, tmp_path: Path) -> None:
    root = made.ranks.parent
    play, answer, *_ = json.loads((root / "calls.json").read_text())
    stage = msgspec.convert(answer["config"], AnswerStage)
    asked_of_servers = {**answer, "config": to_plain(with_server(stage, made.asked / "machines", gpus=2))}
    (tmp_path / "calls.json").write_text(json.dumps([play, answer, asked_of_servers]))
    meet = ("--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", "29733", "--node-rank")
    start_ranks(root / "store", tmp_path / "calls.json", tmp_path, [*meet, "0"], [*meet, "1"])
    for number, file in ((PLAY, "pools.json"), (ANSWER, "answers.jsonl")):
        assert (tmp_path / str(number) / file).read_bytes() == (made.alone / str(number) / file).read_bytes()
    first, second = requests(made.asked / "machines")
    assert {line["CUDA_VISIBLE_DEVICES"] for line in [*first, *second]} == {"0,1"}
    assert len({line["prompt"] for line in [*first, *second]}) == len(first) + len(second) == 31 * 2
