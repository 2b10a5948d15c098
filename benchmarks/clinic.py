"""What both benchmarks work on: the clinic's student as the default configuration makes it, and the oracle's thoughts."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch

from medcritical.batching import Example, PairExample
from medcritical.cli.compose import check_overrides
from medcritical.config.schema import Config, OptimConfig, SplitSizes
from medcritical.config.stages import StudentStage
from medcritical.modeling.checkpoint import Student, load_checkpoint
from medcritical.pipeline.plan import make_plan
from medcritical.records import Prompt, Question
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import prepare_process
from medcritical.stages.examples import encode, template_examples
from medcritical.stages.student import run as make_student
from medcritical.store import Store
from medcritical.text.prompts import attempt_prompt
from medcritical.text.thoughts import ThoughtFormat
from medcritical.training import score_responses, train_sft
from medcritical.world import corrupt, generate_questions, write_template

NUM_TRAIN, NUM_TEST = 640, 512


@dataclass(frozen=True)
class Clinic:
    """The default configuration, its untrained student, train questions and held-out questions."""

    config: Config
    student: Student
    train: list[Question]
    test: list[Question]

    @property
    def pad_id(self) -> int:
        """Token that rows are padded with."""
        pad_id: int = self.student.tokenizer.pad_token_id
        return pad_id

    def prompts(self) -> list[Prompt]:
        """What the student is asked on the held-out questions."""
        return [attempt_prompt(self.config.template, question) for question in self.test]

    def examples(self, questions: list[Question]) -> list[Example]:
        """The oracle's thought on each question."""
        thoughts = [write_template(question) for question in questions]
        return template_examples(self.student.tokenizer, self.config.template, thoughts)

    def pairs(self, questions: list[Question]) -> list[PairExample]:
        """The oracle's thought preferred to a wrong one, with log-probabilities of the student as it is."""
        form, rng, tokenizer = ThoughtFormat(self.config.template), Random(0), self.student.tokenizer
        chosen, rejected = [], []
        for question, right in zip(questions, self.examples(questions), strict=True):
            wrong = corrupt(question, rng)
            if wrong is not None:
                response = form.render(wrong.outline, wrong.chain, wrong.answer)
                chosen.append(right)
                rejected.append(encode(tokenizer, attempt_prompt(self.config.template, question), response))
        logps = score_responses(
            self.student.model, self.pad_id, [*chosen, *rejected], self.config.trainer, lambda *progress: None
        )
        return [
            PairExample(right.prompt_ids, right.response_ids, wrong.response_ids, right_logp, wrong_logp)
            for right, wrong, right_logp, wrong_logp in zip(
                chosen, rejected, logps[: len(chosen)], logps[len(chosen) :], strict=True
            )
        ]


def open_clinic() -> Clinic:
    """The clinic at its defaults, on one CPU thread."""
    (config,) = check_overrides(["trainer.accelerator=cpu"])
    assert config.data.world is not None
    prepare_process(config.trainer)
    sizes = SplitSizes(train=NUM_TRAIN, dev=0, test=NUM_TEST)
    questions = generate_questions(config.data.world, sizes, config.seed)
    stage = next(call.config for call in make_plan(config, {}).calls if isinstance(call.config, StudentStage))
    with tempfile.TemporaryDirectory() as folder:
        output = Output(Path(folder), config.trainer, lambda done, total, unit: None)
        make_student(stage, Inputs(Store(Path(folder)), {}), output)
        student = load_checkpoint(Path(folder), dtype=torch.float32)
    return Clinic(config, student, questions[:NUM_TRAIN], questions[NUM_TRAIN:])


def teach(clinic: Clinic, steps: int) -> None:
    """Train the student on the oracle's thoughts until it writes in their form and ends its responses, most of them."""
    optim: OptimConfig = replace(clinic.config.sft, epochs=None, steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        train_sft(
            clinic.student.model,
            clinic.pad_id,
            clinic.examples(clinic.train),
            optim,
            clinic.config.trainer,
            steps=steps,
            seed=0,
            metrics_path=Path(folder) / "metrics.jsonl",
            on_progress=lambda *progress: None,
        )
