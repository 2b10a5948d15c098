"""play: questions + policy (+ corrector) -> `attempts.jsonl` and `corrections.jsonl`.

Every question gets `attempts` tries. With adaptive allocation the rest of the token budget goes to unsolved questions, one
try a round: a correction of one of the question's wrong attempts where there is a corrector, else a new attempt. With uniform
allocation every wrong attempt gets `corrections` corrections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from medcritical.config.choices import Allocation
from medcritical.config.schema import GenerationConfig
from medcritical.config.stages import PlayStage, QuestionRange
from medcritical.errors import DataError
from medcritical.generation.engine import Engine, Sampling
from medcritical.records import Attempt, Completion, Correction, Question
from medcritical.selfplay.quality import format_collapse
from medcritical.selfplay.trials import Trial, choose_wrong, unsolved, within_budget
from medcritical.selfplay.verify import judge
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import embedded_engine
from medcritical.stages.prepare import QUESTIONS
from medcritical.store import read_records, write_records
from medcritical.store.hashing import derive_seed
from medcritical.text.prompts import attempt_prompt, correction_prompt
from medcritical.text.thoughts import ThoughtFormat

ATTEMPTS, CORRECTIONS = "attempts.jsonl", "corrections.jsonl"


def run(config: PlayStage, inputs: Inputs, output: Output) -> None:
    """Write attempts and corrections. Facts: pools, share of right attempts, tokens of attempts and corrections."""
    questions = select_questions(read_records(inputs["questions"] / QUESTIONS, Question), config.questions)
    policy = embedded_engine(inputs["policy"], output.trainer, config.precision)
    corrector = None
    if "corrector" in inputs:
        is_same = inputs.refs["corrector"] == inputs.refs["policy"]
        corrector = policy if is_same else embedded_engine(inputs["corrector"], output.trainer, config.precision)
    trials = _Player(config, policy, corrector, output).play(questions)
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


class _Player:
    """Spends one iteration's budget."""

    def __init__(self, config: PlayStage, policy: Engine, corrector: Engine | None, output: Output) -> None:
        self.config, self.policy, self.corrector, self.output = config, policy, corrector, output
        self.form = ThoughtFormat(config.template)
        self.rng = Random(config.seed)

    def play(self, questions: Sequence[Question]) -> list[Trial]:
        """Trials of all questions, in their order."""
        trials = [Trial(question) for question in questions]
        self.attempt(trials, self.config.attempts, round=0)
        if self.config.allocation is Allocation.uniform:
            if self.corrector is not None:
                for round in range(1, self.config.corrections + 1):
                    jobs = [(trial, wrong) for trial in trials for wrong in trial.wrong]
                    self.correct(jobs, round)
            return trials
        for round in range(1, self.config.max_rounds + 1):
            waiting = self.waiting(trials)
            if not waiting:
                break
            if self.corrector is None:
                self.attempt(waiting, 1, round)
            else:
                self.correct([(trial, choose_wrong(trial, self.rng)) for trial in waiting], round)
        return trials

    def waiting(self, trials: list[Trial]) -> list[Trial]:
        """Unsolved trials that the rest of the budget pays for, at the mean length of a try so far."""
        spent = sum(trial.student_tokens for trial in trials)
        tries = sum(len(trial.attempts) + len(trial.corrections) for trial in trials)
        return within_budget(
            unsolved(trials, needs_wrong=self.corrector is not None),
            tokens_left=self.config.budget * len(trials) - spent,
            tokens_each=spent / max(tries, 1),
        )

    def attempt(self, trials: list[Trial], samples: int, round: int) -> None:
        """New attempts by the policy."""
        prompts = [attempt_prompt(self.config.template, trial.question) for trial in trials]
        sampling = self.sampling(self.config.generation.max_new_tokens)
        answers = self.policy.generate(
            prompts, sampling, samples=samples, seed=self.seed("attempt", round), on_progress=self.progress
        )
        for trial, completions in zip(trials, answers, strict=True):
            trial.attempts += [judge(self.form, trial.question, answer, round=round) for answer in completions]
            self.output.student_tokens += sum(answer.completion_tokens for answer in completions)

    def correct(self, jobs: Sequence[tuple[Trial, Attempt]], round: int) -> None:
        """One correction each of the given wrong attempts."""
        assert self.corrector is not None
        prompts = [correction_prompt(self.config.template, trial.question, wrong.text) for trial, wrong in jobs]
        sampling = self.sampling(self.config.generation.correction_max_new_tokens)
        answers = self.corrector.generate(
            prompts, sampling, seed=self.seed("correct", round), on_progress=self.progress
        )
        for (trial, wrong), (answer,) in zip(jobs, answers, strict=True):
            trial.corrections.append(self.read_correction(wrong, answer, round))
            self.output.student_tokens += answer.completion_tokens

    def read_correction(self, wrong: Attempt, answer: Completion, round: int) -> Correction:
        """The correction in a completion; without an insight in front it counts as malformed."""
        parts = self.form.split_correction(answer.text)
        insight, response = parts if parts is not None else ("", answer.text)
        completion = Completion(
            text=response,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            is_finished=answer.is_finished and parts is not None,
        )
        return Correction(
            wrong=wrong, insight=insight, corrected=judge(self.form, wrong.question, completion, round=round)
        )

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
    output.facts["alarms"] = [alarm for alarm in [format_collapse(attempts)] if alarm]
    output.facts["attempts"] = len(attempts)
    output.facts["right_attempts"] = sum(attempt.is_correct for attempt in attempts)
    output.facts["corrections"] = len(corrections)
    output.facts["verified_corrections"] = sum(item.corrected.is_correct for item in corrections)
    shown = ", ".join(f"{pools[pool]} {pool}" for pool in ("solved", "corrected", "stubborn"))
    output.facts["shown"] = [f"{len(trials)} questions: {shown}", f"{output.student_tokens:,} tokens"]
