"""play: questions + policy (+ corrector) -> `attempts.jsonl` and `corrections.jsonl`.

Every question gets `attempts` tries. With adaptive allocation the rest of the token budget goes to unsolved questions, one
try a round: a correction of one of the question's wrong attempts where there is a corrector, else a new attempt. With uniform
allocation every wrong attempt gets `corrections` corrections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import msgspec

from medcritical.config.choices import Allocation
from medcritical.config.schema import GenerationConfig
from medcritical.config.stages import PlayStage, QuestionRange
from medcritical.errors import DataError
from medcritical.generation.engine import Engine, Sampling
from medcritical.records import Attempt, Completion, Correction, Question
from medcritical.selfplay.quality import format_collapse
from medcritical.selfplay.trials import Trial, choose_wrong, unsolved, within_budget
from medcritical.selfplay.verify import Verifier
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import student_engine
from medcritical.stages.prepare import QUESTIONS
from medcritical.stages.verifier import open_verifier
from medcritical.store import read_records, write_records
from medcritical.store.hashing import derive_seed
from medcritical.text.prompts import attempt_prompt, correction_prompt
from medcritical.text.thoughts import ThoughtFormat

ATTEMPTS, CORRECTIONS = "attempts.jsonl", "corrections.jsonl"


def run(config: PlayStage, inputs: Inputs, output: Output) -> None:
    """Write attempts and corrections. Facts: pools, share of right attempts, tokens of attempts and corrections."""
    questions = select_questions(read_records(inputs["questions"] / QUESTIONS, Question), config.questions)
    with open_verifier(config.verifier, config.template, inputs, output) as verifier:
        player = _Player(config, verifier, output, has_corrector="corrector" in inputs)
        trials = _play(player, questions, inputs)
    write_records(output.folder / ATTEMPTS, [attempt for trial in trials for attempt in trial.attempts])
    write_records(output.folder / CORRECTIONS, [item for trial in trials for item in trial.corrections])
    _describe(trials, output)


def select_questions(questions: Sequence[Question], wanted: QuestionRange) -> list[Question]:
    """The wanted train questions; past the end it goes on at `first`. Raises DataError when there are none there."""
    train = [question for question in questions if question.split == "train"]
    pool = train[wanted.first :]
    if not pool:
        raise DataError(
            f"self-play needs train questions after the first {wanted.first}, and there are {len(train)}: raise "
            "data.sizes.train or lower sft.templates."
        )
    count = len(pool) if wanted.count is None else min(wanted.count, len(pool))
    offset = wanted.start - wanted.first
    return [pool[(offset + number) % len(pool)] for number in range(count)]


def _play(player: _Player, questions: Sequence[Question], inputs: Inputs) -> list[Trial]:
    """The policy's attempts, then the retries: by the corrector where it is another checkpoint.

    One engine at a time is open: two servers would not fit on one GPU.
    """
    config, output = player.config, player.output
    goes_on = not player.has_corrector or inputs.refs["corrector"] == inputs.refs["policy"]
    with student_engine(config.engine, inputs, "policy", output, config.precision) as policy:
        trials = player.begin(policy, questions)
        if goes_on:
            player.retry(policy, trials)
        output.spend("student", policy.usage)
    if not goes_on:
        with student_engine(config.engine, inputs, "corrector", output, config.precision) as corrector:
            player.retry(corrector, trials)
            output.spend("student", corrector.usage)
    return trials


class _Player:
    """Spends one iteration's budget. A retry is a correction where there is a corrector, else a new attempt."""

    def __init__(self, config: PlayStage, verifier: Verifier, output: Output, *, has_corrector: bool) -> None:
        self.config, self.verifier, self.output, self.has_corrector = config, verifier, output, has_corrector
        self.form = ThoughtFormat(config.template)
        self.rng = Random(config.seed)

    def begin(self, policy: Engine, questions: Sequence[Question]) -> list[Trial]:
        """Trials of all questions, in their order, with the attempts that every question gets."""
        trials = [Trial(question) for question in questions]
        self.attempt(policy, trials, self.config.attempts, round=0)
        return trials

    def retry(self, engine: Engine, trials: list[Trial]) -> None:
        """Add what comes after the first attempts."""
        if self.config.allocation is Allocation.uniform:
            for round in range(1, self.config.corrections + 1 if self.has_corrector else 1):
                self.correct(engine, [(trial, wrong) for trial in trials for wrong in trial.wrong], round)
            return
        for round in range(1, self.config.max_rounds + 1):
            waiting = self.waiting(trials)
            if not waiting:
                break
            if self.has_corrector:
                self.correct(engine, [(trial, choose_wrong(trial, self.rng)) for trial in waiting], round)
            else:
                self.attempt(engine, waiting, 1, round)

    def waiting(self, trials: list[Trial]) -> list[Trial]:
        """Unsolved trials that the rest of the budget pays for, at the mean length of a try so far."""
        spent = sum(trial.student_tokens for trial in trials)
        tries = sum(len(trial.attempts) + len(trial.corrections) for trial in trials)
        return within_budget(
            unsolved(trials, needs_wrong=self.has_corrector),
            tokens_left=self.config.budget * len(trials) - spent,
            tokens_each=spent / max(tries, 1),
        )

    def attempt(self, engine: Engine, trials: list[Trial], samples: int, round: int) -> None:
        """New attempts."""
        prompts = [attempt_prompt(self.config.template, trial.question) for trial in trials]
        sampling = self.sampling(self.config.generation.max_new_tokens)
        answers = engine.generate(
            prompts, sampling, samples=samples, seed=self.seed("attempt", round), on_progress=self.progress
        )
        tried = [(trial, answer) for trial, completions in zip(trials, answers, strict=True) for answer in completions]
        attempts = self.verifier.verify([(trial.question, answer) for trial, answer in tried], round=round)
        for (trial, _), attempt in zip(tried, attempts, strict=True):
            trial.attempts.append(attempt)

    def correct(self, engine: Engine, jobs: Sequence[tuple[Trial, Attempt]], round: int) -> None:
        """One correction each of the given wrong attempts."""
        prompts = [correction_prompt(self.config.template, trial.question, wrong.text) for trial, wrong in jobs]
        sampling = self.sampling(self.config.generation.correction_max_new_tokens)
        answers = engine.generate(prompts, sampling, seed=self.seed("correct", round), on_progress=self.progress)
        parts = [self.split_correction(answer) for (answer,) in answers]
        responses = [(trial.question, response) for (trial, _), (_, response) in zip(jobs, parts, strict=True)]
        corrected = self.verifier.verify(responses, round=round)
        for (trial, wrong), (insight, _), attempt in zip(jobs, parts, corrected, strict=True):
            trial.corrections.append(Correction(wrong=wrong, insight=insight, corrected=attempt))

    def split_correction(self, answer: Completion) -> tuple[str, Completion]:
        """Insight and new response of a correction; one without an insight in front counts as malformed."""
        parts = self.form.split_correction(answer.text)
        insight, response = parts if parts is not None else ("", answer.text)
        is_finished = answer.is_finished and parts is not None
        return insight, msgspec.structs.replace(answer, text=response, is_finished=is_finished)

    def sampling(self, max_new_tokens: int) -> Sampling:
        """How responses are drawn."""
        return _sampling(self.config.generation, max_new_tokens)

    def seed(self, kind: str, round: int) -> int:
        """The seed of one round."""
        return derive_seed(self.config.seed, kind, round)

    def progress(self, done: int, total: int) -> None:
        """Tell how far the round is."""
        self.output.progress(done, total, "responses")


def _sampling(generation: GenerationConfig, max_new_tokens: int) -> Sampling:
    return Sampling(
        temperature=generation.temperature,
        top_p=generation.top_p,
        max_new_tokens=max_new_tokens,
        batch_size=generation.batch_size,
    )


def _describe(trials: list[Trial], output: Output) -> None:
    attempts = [attempt for trial in trials for attempt in trial.attempts]
    corrections = [item for trial in trials for item in trial.corrections]
    pools = Counter(trial.pool for trial in trials)
    output.facts["pools"] = dict(pools)
    output.facts.setdefault("alarms", []).extend(alarm for alarm in [format_collapse(attempts)] if alarm)
    output.facts["attempts"] = len(attempts)
    output.facts["right_attempts"] = sum(attempt.is_correct for attempt in attempts)
    output.facts["outcomes"] = dict(Counter(attempt.outcome for attempt in attempts))
    output.facts["corrections"] = len(corrections)
    output.facts["verified_corrections"] = sum(item.corrected.is_correct for item in corrections)
    shown = ", ".join(f"{pools[pool]} {pool}" for pool in ("solved", "corrected", "stubborn"))
    output.facts["shown"] = [f"{len(trials)} questions: {shown}", f"{output.student_tokens:,} tokens"]
