"""play: questions + policy (+ corrector) -> `attempts.jsonl`, `corrections.jsonl`, and in `pools.json` what became of whom.

Every question gets `attempts` tries. With adaptive allocation the rest of the token budget goes to unsolved questions, one
try a round, of the kinds that `retry` lists in turn: a correction of one of the question's wrong attempts, or a new attempt.
With uniform allocation every wrong attempt gets `corrections` corrections. A play that shall equal another one in tokens
has what that one has written (`target`) for its budget.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from random import Random
from typing import cast

from medcritical.config.choices import Allocation, Retry, RightBy
from medcritical.config.schema import GenerationConfig
from medcritical.config.stages import CORRECTING, PlayStage, QuestionRange
from medcritical.errors import DataError
from medcritical.generation.engine import Engine, Sampling
from medcritical.records import Attempt, Completion, Correction, Prompt, Question
from medcritical.selfplay.corrections import CorrectionReader
from medcritical.selfplay.quality import format_collapse
from medcritical.selfplay.soundness import SoundVerifier
from medcritical.selfplay.trials import Trial, choose_wrong, pools_of, unsolved, within_budget, without_tried
from medcritical.selfplay.verify import Verifier
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import student_engine
from medcritical.stages.gate import has_stopped
from medcritical.stages.prepare import QUESTIONS
from medcritical.stages.verifier import open_verifier
from medcritical.store import read_records, write_json
from medcritical.store.hashing import derive_seed
from medcritical.text.prompts import attempt_prompt, correction_prompt, step_correction_prompt

ATTEMPTS, CORRECTIONS, POOLS = "attempts.jsonl", "corrections.jsonl", "pools.json"
TOLERANCE = 0.05
"""Share of the tokens of another play within which this one is as long as that."""


def run(config: PlayStage, inputs: Inputs, output: Output) -> None:
    """Write attempts, corrections and pools. Facts: pools, share of right attempts, tokens of attempts and corrections."""
    if has_stopped(inputs["policy"]):
        output.leave_empty()
        return
    questions = select_questions(read_records(inputs["questions"] / QUESTIONS, Question), config.questions)
    with (
        open_verifier(config.verifier, config.template, inputs, output) as verifier,
        _Engines(config, inputs, output) as engines,
    ):
        if config.right_by is RightBy.soundness:
            verifier = SoundVerifier(verifier)
        target = inputs.manifest("target").costs.student_tokens if "target" in inputs else None
        budget = config.budget * len(questions) if target is None else target
        trials = _Player(config, verifier, engines, output, budget).play(questions)
    output.write(ATTEMPTS, (attempt for trial in trials for attempt in trial.attempts))
    output.write(CORRECTIONS, (item for trial in trials for item in trial.corrections))
    write_json(output.folder / POOLS, pools_of(trials))
    _describe(trials, output)
    if target is not None:
        _compare_tokens(target, output)


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


class _Engines:
    """The engine of the policy or of the corrector, one open at a time: two servers would not fit on one GPU."""

    def __init__(self, config: PlayStage, inputs: Inputs, output: Output) -> None:
        self.config, self.inputs, self.output = config, inputs, output
        self._stack, self._open, self._engine = ExitStack(), "", cast(Engine, None)

    def __enter__(self) -> _Engines:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def of(self, role: str) -> Engine:
        """The engine over the checkpoint under `role`; another one is closed first."""
        key = self.inputs.refs[role].key
        if key != self._open:
            self._stack.close()
            self._engine = cast(Engine, None)  # two models may not fit, either
            config, output = self.config, self.output
            self._engine = self._stack.enter_context(
                student_engine(config.engine, self.inputs, role, output, config.precision)
            )
            self._stack.callback(self._spend, self._engine)
            self._open = key
        return self._engine

    def _spend(self, engine: Engine) -> None:
        self.output.spend("student", engine.usage)


class _Player:
    """Spends one iteration's budget."""

    def __init__(self, config: PlayStage, verifier: Verifier, engines: _Engines, output: Output, budget: int) -> None:
        self.config, self.verifier, self.engines, self.output = config, verifier, engines, output
        self.budget = budget  # student tokens of all questions together
        self.reader = CorrectionReader(config.template)
        self.rng = Random(config.seed)

    def play(self, questions: Sequence[Question]) -> list[Trial]:
        """Trials of all questions, in their order: the attempts that every question gets, then the retries."""
        trials = [Trial(question) for question in questions]
        self.attempt(trials, self.config.attempts, round=0)
        if self.config.allocation is Allocation.uniform:
            self.correct_all(trials)
        else:
            self.retry(trials)
        return trials

    def correct_all(self, trials: list[Trial]) -> None:
        """As many corrections of every wrong attempt as the configuration says, where the arm corrects."""
        kinds = [kind for kind in self.config.retry if kind in CORRECTING]
        for round in range(1, self.config.corrections + 1 if kinds else 1):
            kind = kinds[(round - 1) % len(kinds)]
            self.correct(kind, [(trial, wrong) for trial in trials for wrong in trial.wrong], round)

    def retry(self, trials: list[Trial]) -> None:
        """Rounds of tries at unsolved questions while the budget lasts, the kinds of retry in turn."""
        kinds = self.config.retry
        for round in range(1, self.config.max_rounds + 1):
            if not any(self.waiting(trials, kind) for kind in kinds):
                if round == 1:
                    self.warn_of_attempts(trials)
                break
            kind = kinds[(round - 1) % len(kinds)]
            waiting = self.waiting(trials, kind)
            if kind in CORRECTING:
                self.correct(kind, [(trial, choose_wrong(trial, self.rng)) for trial in waiting], round)
            else:
                self.attempt(waiting, 1, round, eliminate=kind is Retry.eliminate)

    def warn_of_attempts(self, trials: list[Trial]) -> None:
        """An alarm where the attempts alone have taken the budget: the arm then is another one than its name says."""
        left = {id(trial) for kind in self.config.retry for trial in unsolved(trials, needs_wrong=kind in CORRECTING)}
        if left:
            spent = sum(trial.student_tokens for trial in trials)
            self.output.facts.setdefault("alarms", []).append(
                f"Nothing retried: {len(left)} questions could be, and the attempts wrote {spent:,} of {self.budget:,} tokens. "
                "Raise selfplay.budget (tokens a question), or choose selfplay=uniform."
            )

    def waiting(self, trials: list[Trial], kind: Retry) -> list[Trial]:
        """Unsolved trials that the rest of the budget pays for, at the mean length of a try so far."""
        spent = sum(trial.student_tokens for trial in trials)
        tries = sum(len(trial.attempts) + len(trial.corrections) for trial in trials)
        return within_budget(
            unsolved(trials, needs_wrong=kind in CORRECTING),
            tokens_left=self.budget - spent,
            tokens_each=spent / max(tries, 1),
        )

    def attempt(self, trials: list[Trial], samples: int, round: int, *, eliminate: bool = False) -> None:
        """New attempts, with `eliminate` at the questions without the options that were tried in vain."""
        asked = [without_tried(trial) if eliminate else trial.question for trial in trials]
        answers = self.generate(
            "policy",
            [attempt_prompt(self.config.template, question) for question in asked],
            self.config.generation.max_new_tokens,
            samples=samples,
            seed=self.seed("attempt", round),
        )
        tried = [(trial, answer) for trial, completions in zip(trials, answers, strict=True) for answer in completions]
        attempts = self.verifier.verify([(trial.question, answer) for trial, answer in tried], round=round)
        for (trial, _), attempt in zip(tried, attempts, strict=True):
            trial.attempts.append(attempt)

    def correct(self, kind: Retry, jobs: Sequence[tuple[Trial, Attempt]], round: int) -> None:
        """One correction each of the given wrong attempts, whole or from the faulty step on."""
        from_step = kind is Retry.step
        ask = step_correction_prompt if from_step else correction_prompt
        answers = self.generate(
            "corrector",
            [ask(self.config.template, trial.question, wrong.text) for trial, wrong in jobs],
            self.config.generation.correction_max_new_tokens,
            samples=1,
            seed=self.seed("correct", round),
        )
        read = [
            self.reader.read_from_step(wrong.text, answer) if from_step else self.reader.read(answer)
            for (_, wrong), (answer,) in zip(jobs, answers, strict=True)
        ]
        responses = [(trial.question, item.response) for (trial, _), item in zip(jobs, read, strict=True)]
        corrected = self.verifier.verify(responses, round=round)
        for (trial, wrong), (answer,), item, attempt in zip(jobs, answers, read, corrected, strict=True):
            trial.corrections.append(
                Correction(
                    wrong=wrong,
                    insight=item.insight,
                    corrected=attempt,
                    written=answer.text,
                    from_step=item.from_step,
                )
            )

    def generate(
        self, role: str, prompts: Sequence[Prompt], max_new_tokens: int, *, samples: int, seed: int
    ) -> list[list[Completion]]:
        """Samples by prompt; nothing is loaded where nothing is asked."""
        if not prompts:
            return []
        return self.engines.of(role).generate(
            prompts,
            _sampling(self.config.generation, max_new_tokens),
            samples=samples,
            seed=seed,
            on_progress=self.progress,
        )

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
        batch_tokens=generation.batch_tokens,
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


def _compare_tokens(target: int, output: Output) -> None:
    """Notes the tokens that were to be spent, with an alarm where they were not, or more."""
    output.facts["target_tokens"] = target
    if abs(output.student_tokens - target) > TOLERANCE * target:
        output.facts["alarms"].append(
            f"Tokens not equal: play wrote {output.student_tokens:,}, the play that it is to equal {target:,}. It ends when no "
            "question is unsolved, or after selfplay.max_rounds."
        )
