"""Scoring as a plan has it, `answer` and then `score`, with a student of the tests' own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from medcritical.config.schema import Config
from medcritical.generation.engine import Sampling, Usage
from medcritical.pipeline.execute import call_file
from medcritical.pipeline.plan import StageCall, make_plan
from medcritical.pipeline.worker import run_stage
from medcritical.records import Attempt, Completion, PermutedAnswers, Prompt, Question, Score
from medcritical.stages import answer
from medcritical.stages.context import Output
from medcritical.stages.prepare import QUESTIONS
from medcritical.stages.results import PERMUTATIONS, PREDICTIONS, SCORE
from medcritical.store import Costs, Store, read_json, read_records, write_records


class Student:
    """An engine whose answers a function of the prompt gives; four tokens read, two written."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.reply, self.usage, self.asked = reply, Usage(), list[Prompt]()
        self.ways = set[tuple[Sampling, int, int]]()

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Completion]]:
        self.asked += prompts
        self.ways.add((sampling, samples, seed))
        texts = [self.reply(prompt.user) for prompt in prompts]
        self.usage.prompt_tokens += 4 * len(texts)
        self.usage.completion_tokens += 2 * len(texts)
        return [[Completion(text=text, prompt_tokens=4, completion_tokens=2, is_finished=True)] for text in texts]


class Scored(NamedTuple):
    """What `score` wrote and told, what `answer` told (first: of the questions as they are), and who was asked."""

    score: Score
    attempts: list[Attempt]
    permuted: list[PermutedAnswers]
    output: Output
    answered: list[Output]
    student: Student


class Scoring:
    """Scores the stage-1 checkpoint of a plan on questions, each time in a store of its own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch, self.runs = root, monkeypatch, 0

    def __call__(self, config: Config, questions: Sequence[Question], student: Student) -> Scored:
        self.runs += 1
        store = Store(self.root / str(self.runs))
        calls = {call.ref.key: call for call in make_plan(config, {}).calls}
        score = next(call for call in calls.values() if (call.ref.stage, call.label) == ("score", "sft"))
        answers = calls[score.inputs["answers"].key]
        for role in ("questions", "checkpoint"):  # the student is here already
            with store.build(answers.inputs[role]) as folder:
                write_records(folder / QUESTIONS, questions if role == "questions" else [])
                complete(store, calls[answers.inputs[role].key], {})
        with self.monkeypatch.context() as patched:
            patched.setattr(answer, "student_engine", opened(student))
            asked = [calls[score.inputs[role].key] for role in ("answers", "permuted") if role in score.inputs]
            answered = [make(store, call, config) for call in asked]
        output = make(store, score, config)
        folder = store.folder(score.ref)
        permuted = read_records(folder / PERMUTATIONS, PermutedAnswers) if len(asked) > 1 else []
        attempts = read_records(folder / PREDICTIONS, Attempt)
        return Scored(read_json(folder / SCORE, Score), attempts, permuted, output, answered, student)


def opened(student: Student) -> Callable[..., object]:
    @contextmanager
    def engine(*_: object) -> Iterator[Student]:
        student.usage = Usage()
        yield student

    return engine


def make(store: Store, call: StageCall, config: Config) -> Output:
    """Run one call into the store."""
    with store.build(call.ref) as folder:
        output = Output(folder, config.trainer, lambda *_: None)
        run_stage(call_file(call), store, output)
        complete(store, call, output.facts)
    return output


def complete(store: Store, call: StageCall, facts: Mapping[str, object]) -> None:
    store.complete(call.ref, version=1, config={}, inputs=call.inputs, facts=dict(facts), costs=Costs())
