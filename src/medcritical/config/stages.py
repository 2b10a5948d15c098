"""What each stage is told: its own slice of the configuration and nothing else.

A slice, the stage's `version` and the keys of its inputs make the artefact's key. What changes no result is left out of the
key: fields that are not semantic, here or in the schema. Of a template a slice holds the texts that the stage reads, and of
the others their tags alone (`pipeline.template_texts.reading`). A field that is added later gets the neutral value that was in
force before it (`sliced(neutral=...)`), so that no key changes. Raise `version` when a stage's meaning changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional

from medcritical.config.choices import (
    Allocation,
    Arithmetic,
    Chosen,
    CorrectionForm,
    EngineKind,
    Fallback,
    Match,
    PairWeight,
    Precision,
    Retry,
    RightBy,
)
from medcritical.config.fields import sliced
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
    seed: int
    arithmetic: Optional[Arithmetic] = sliced(neutral=None)


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
    seed: int
    precision: Precision = sliced(neutral=Precision.auto)

    @property
    def engines(self) -> list[EngineConfig]:
        """See `StageConfig`."""
        return [self.engine, *_judge_engines(self.verifier)]


@dataclass
class PairStage(StageConfig):
    """Attempts and corrections (and the teacher's) -> preference pairs and their quality report.

    `trains_corrector` adds verified corrections as examples for the corrector. Of the replayed pairs those of iterations
    before `replay_from` are left out. Of one question come at most `pairs_per_question` pairs (None: all). Without
    `keeps_alone` examples without a rejected response are left out: the loss would learn nothing from them.
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
    pairs_per_question: Optional[int]
    keeps_alone: bool


@dataclass
class ReferenceStage(StageConfig):
    """Pairs + reference checkpoint -> reference log-probabilities. No beta here: every beta shares them."""

    stage: ClassVar[str] = "reference"
    version: ClassVar[int] = 2
    ranked: ClassVar[bool] = True
    template: TemplateConfig
    max_length: int
    arithmetic: Optional[Arithmetic] = sliced(neutral=None)


@dataclass
class DpoStage(StageConfig):
    """Scored pairs (or pairs alone, for the NLL controls, whose `nll_weight` is 1) + checkpoint -> checkpoint."""

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
    seed: int
    pair_weight: PairWeight
    arithmetic: Optional[Arithmetic] = sliced(neutral=None)


@dataclass
class GateStage(StageConfig):
    """A trained policy, the best before it and the dev scores of both -> the checkpoint that the loop goes on from."""

    stage: ClassVar[str] = "gate"
    gate: GateConfig


@dataclass
class AnswerStage(StageConfig):
    """Held-out questions + checkpoint -> responses, as many `samples` for each question: all of scoring that generates.

    With `orders` > 1 the questions are asked in so many orders of their options, drawn by `order_seed`, but for their own
    order, in which another call asks them. `needs_explanations` refuses data without them before anything is generated.
    """

    stage: ClassVar[str] = "answer"
    engine: EngineConfig
    template: TemplateConfig
    split: str
    questions: Optional[int]
    chat_template: bool
    samples: int
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    batch_tokens: int = sliced(semantic=False)
    needs_explanations: bool = sliced(semantic=False)
    orders: int = sliced(neutral=1)
    order_seed: int = sliced(neutral=0)
    precision: Precision = sliced(neutral=Precision.auto)

    @property
    def engines(self) -> list[EngineConfig]:
        """See `StageConfig`."""
        return [self.engine]


@dataclass
class ScoreStage(StageConfig):
    """Responses -> predictions and their score: reading, verification, the vote over samples.

    Without `count_undecided`, questions that the judge left undecided are in no number.
    """

    stage: ClassVar[str] = "score"
    template: TemplateConfig
    verifier: VerifierConfig
    count_undecided: bool = sliced(neutral=True)
    explanation: bool = sliced(neutral=False)

    @property
    def engines(self) -> list[EngineConfig]:
        """See `StageConfig`."""
        return _judge_engines(self.verifier)


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
    data: str
    verifier: str
    rows: list[ReportRow]
    published: list[PublishedValue]
    report: ReportConfig
    confidence: float


def _judge_engines(verifier: VerifierConfig) -> list[EngineConfig]:
    return [] if verifier.judge is None else [verifier.judge.engine]
