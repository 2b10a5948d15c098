"""What each stage is told: its own slice of the configuration and nothing else.

A slice, the stage's `version` and the keys of its inputs make the artefact's key, so whatever cannot change a result
(paths, loggers, worker counts) has no place here. Raise `version` when a stage's meaning changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional

from medcritical.config.choices import (
    Allocation,
    Chosen,
    CorrectionForm,
    EngineKind,
    Fallback,
    Match,
    Precision,
    Retry,
    RightBy,
)
from medcritical.config.schema import (
    DataConfig,
    EngineConfig,
    FilterConfig,
    GateConfig,
    GenerationConfig,
    LoraConfig,
    LossConfig,
    OptimConfig,
    ReportConfig,
    StudentConfig,
    TeacherConfig,
    TemplateConfig,
    VerifierConfig,
)

CORRECTING = (Retry.correction, Retry.step)
"""The retries that a corrector makes of a wrong attempt."""


@dataclass
class StageConfig:
    """Base of all slices. The work of a `ranked` stage is shared between ranks, where there are several."""

    stage: ClassVar[str]
    version: ClassVar[int] = 1
    ranked: ClassVar[bool] = False

    @property
    def engines(self) -> list[EngineConfig]:
        """Those that the stage opens."""
        return []

    @property
    def generates(self) -> bool:
        """True when machines of ours answer in it, whose work ranks may share; a running server is asked by one process."""
        return any(engine.kind is not EngineKind.server for engine in self.engines)


@dataclass
class QuestionRange:
    """`count` questions of the train split from `start` on, wrapping round at its end back to `first`. None: all."""

    start: int
    count: Optional[int]
    first: int


@dataclass
class PrepareStage(StageConfig):
    """Data files (or the clinic's world) -> questions with their split."""

    stage: ClassVar[str] = "prepare"
    version: ClassVar[int] = 2
    data: DataConfig


@dataclass
class StudentStage(StageConfig):
    """Model source -> base checkpoint. `words` are the template's texts, for a tokenizer made from scratch."""

    stage: ClassVar[str] = "student"
    student: StudentConfig
    words: list[str]
    seed: int


@dataclass
class TeachStage(StageConfig):
    """Questions -> thought templates and synthetic corrections; or own wrong attempts -> corrections.

    `shuffle_seed` orders the options of recorded traces as `prepare` orders those of its questions; None: as recorded.
    `contamination` is the similarity from which a recorded trace's question is a copy of a held-out one; None: exact copies.
    """

    stage: ClassVar[str] = "teach"
    version: ClassVar[int] = 2
    teacher: TeacherConfig
    template: TemplateConfig
    questions: Optional[QuestionRange]
    synthetic_corrections: float
    max_wrong: int
    shuffle_seed: Optional[int]
    contamination: Optional[float]
    seed: int

    @property
    def engines(self) -> list[EngineConfig]:
        """See `StageConfig`."""
        return [] if self.teacher.engine is None else [self.teacher.engine]


@dataclass
class SftStage(StageConfig):
    """Templates and corrections + checkpoint -> checkpoint."""

    stage: ClassVar[str] = "sft"
    version: ClassVar[int] = 2
    ranked: ClassVar[bool] = True
    optim: OptimConfig
    match: Match
    correction_form: CorrectionForm
    template: TemplateConfig
    lora: Optional[LoraConfig]
    precision: Precision
    seed: int


@dataclass
class PlayStage(StageConfig):
    """Questions + policy (+ corrector) -> attempts and corrections."""

    stage: ClassVar[str] = "play"
    version: ClassVar[int] = 2
    engine: EngineConfig
    generation: GenerationConfig
    template: TemplateConfig
    questions: QuestionRange
    attempts: int
    retry: list[Retry]
    right_by: RightBy
    allocation: Allocation
    budget: int
    max_rounds: int
    corrections: int
    verifier: VerifierConfig
    precision: Precision
    seed: int

    @property
    def engines(self) -> list[EngineConfig]:
        """See `StageConfig`."""
        return [self.engine, *_judge_engines(self.verifier)]


@dataclass
class PairStage(StageConfig):
    """Attempts and corrections (and the teacher's) -> preference pairs and their quality report.

    `trains_corrector` adds verified corrections as examples for the corrector. Of the replayed pairs those of iterations
    before `replay_from` are left out.
    """

    stage: ClassVar[str] = "pair"
    version: ClassVar[int] = 2
    template: TemplateConfig
    chosen: Chosen
    fallback: Fallback
    filters: FilterConfig
    trains_corrector: bool
    iteration: int
    replay_from: int
    seed: int


@dataclass
class ReferenceStage(StageConfig):
    """Pairs + reference checkpoint -> reference log-probabilities. No beta here: every beta shares them."""

    stage: ClassVar[str] = "reference"
    ranked: ClassVar[bool] = True
    template: TemplateConfig
    max_length: int
    precision: Precision


@dataclass
class DpoStage(StageConfig):
    """Scored pairs (or pairs alone, for the NLL controls) + checkpoint -> checkpoint."""

    stage: ClassVar[str] = "dpo"
    version: ClassVar[int] = 2
    ranked: ClassVar[bool] = True
    optim: OptimConfig
    beta: Optional[float]
    loss: Optional[LossConfig]
    nll_weight: float
    match: Match
    starts_at_reference: bool
    template: TemplateConfig
    lora: Optional[LoraConfig]
    precision: Precision
    seed: int


@dataclass
class GateStage(StageConfig):
    """A trained policy, the best before it and the dev scores of both -> the checkpoint that the loop goes on from."""

    stage: ClassVar[str] = "gate"
    gate: GateConfig


@dataclass
class EvaluateStage(StageConfig):
    """Held-out questions + checkpoint -> predictions and their score.

    `votes` samples a question are counted where there is more than one. Without `count_undecided`, questions that the judge
    left undecided are in no number. `seed` draws samples and the orders of
    `permutations`.
    """

    stage: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 3
    engine: EngineConfig
    data: str
    split: str
    questions: Optional[int]
    verifier: VerifierConfig
    chat_template: bool
    count_undecided: bool
    explanation: bool
    permutations: int
    votes: int
    temperature: float
    top_p: float
    seed: int
    max_new_tokens: int
    batch_tokens: int
    precision: Precision
    template: TemplateConfig

    @property
    def engines(self) -> list[EngineConfig]:
        """See `StageConfig`."""
        return [self.engine, *_judge_engines(self.verifier)]


@dataclass
class PublishedValue:
    """A published accuracy (percent; None: none known) to stand beside that of a row, and the settings of ours."""

    arm: str
    accuracy: Optional[float]
    source: str
    fidelity: str
    settings: str


@dataclass
class ReportRow:
    """Which arm and iteration an evaluated checkpoint belongs to, and the seeds of training, questions and teacher."""

    arm: str
    title: str
    stage: str
    iteration: int
    beta: Optional[float]
    seed: int
    equal: str = ""
    data_seed: int = 0
    teacher_seed: int = 0


@dataclass
class ReportStage(StageConfig):
    """Scores -> summary, tables and figures."""

    stage: ClassVar[str] = "report"
    version: ClassVar[int] = 4
    name: str
    rows: list[ReportRow]
    published: list[PublishedValue]
    report: ReportConfig
    confidence: float


def _judge_engines(verifier: VerifierConfig) -> list[EngineConfig]:
    return [] if verifier.judge is None else [verifier.judge.engine]
