"""The records that stages exchange: frozen, validated, one JSON object per line in an artefact.

A record carries what later stages need, so no stage joins backwards: an ``Attempt`` holds its ``Question``,
a ``Correction`` its ``Attempt``. ``split`` travels with every question, and training refuses a test row.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Split = Literal["train", "dev", "test"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records: immutable, keyword-only, unknown JSON fields refused on reading."""


class Question(Record, frozen=True, kw_only=True):
    """One multiple-choice question. Written by `prepare`, read by every stage after it.

    `options` maps letter to text in the order shown; letters are kept as the source gives them, gaps included.
    `answer` is the sorted string of right letters ("B", "ABD"). `meta` holds what a data set adds: annotation
    slices, or the clinic's hidden case, which only the oracle and the soundness check may read.
    """

    id: str
    stem: str
    options: dict[str, str]
    answer: str
    language: str
    split: Split
    source: str
    explanation: str = ""
    meta: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not self.id or not self.stem.strip():
            raise ValueError(f"question {self.id!r} has no id or no stem")
        if len(self.options) < 2:
            raise ValueError(f"question {self.id!r} has {len(self.options)} options; at least 2 are needed")
        if not self.answer or any(letter not in self.options for letter in self.answer):
            raise ValueError(
                f"question {self.id!r}: answer {self.answer!r} is not among options {''.join(self.options)}"
            )
        if list(self.answer) != sorted(set(self.answer)):
            raise ValueError(f"question {self.id!r}: answer {self.answer!r} must be sorted letters without repeats")

    @property
    def answer_texts(self) -> tuple[str, ...]:
        """Texts of the right options, in letter order."""
        return tuple(self.options[letter] for letter in self.answer)


class ThoughtTemplate(Record, frozen=True, kw_only=True):
    """A two-level thought: outline (plan) and detailed chain, with the answer. Written by `teach`, read by `sft`.

    `outline` and `chain` are parallel where the teacher gives both; a recorded trace may have a chain only.
    `answer` is as the teacher wrote it (option text or letters); `letters` is what the verifier read from it.
    `rejections` is empty for a kept template and otherwise says why it may not be used.
    """

    question: Question
    outline: tuple[str, ...]
    chain: tuple[str, ...]
    answer: str
    letters: str | None
    teacher: str
    rejections: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def is_kept(self) -> bool:
        """True when the template is verified and may be trained on."""
        return not self.rejections


class TaughtCorrection(Record, frozen=True, kw_only=True):
    """A teacher's correction of a wrong attempt: the insight (which step, why) and the right template.

    `attempt` is the wrong response as text; `kind` says whose error it is. Written by `teach`, read by `sft`.
    """

    template: ThoughtTemplate
    attempt: str
    insight: str
    kind: Literal["synthetic", "own"]


class Completion(Record, frozen=True, kw_only=True):
    """What an engine returns for one sample. Token counts are of the engine's own tokenizer.

    `is_finished` is False when generation was cut by the token limit.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    is_finished: bool


class Attempt(Record, frozen=True, kw_only=True):
    """One try of the student at a question. Written by `play` and `evaluate`.

    `letters` is the extracted answer (None: unparsed), `rule` the extraction rule that fired. `is_well_formed` holds
    when the response keeps the template's strict form to the end, whatever it answers.
    `is_sound` says whether the reasoning is right too,
    where the data set can tell (the clinic), else None.
    """

    question: Question
    text: str
    letters: str | None
    rule: str
    is_correct: bool
    is_well_formed: bool
    is_sound: bool | None
    prompt_tokens: int
    completion_tokens: int
    round: int


class Correction(Record, frozen=True, kw_only=True):
    """One correction by the student of its own wrong attempt: `insight` says where and why it went wrong.

    `corrected` is the new attempt, judged like any other (its `text` is without the insight). Written by `play`.
    """

    wrong: Attempt
    insight: str
    corrected: Attempt


class PreferencePair(Record, frozen=True, kw_only=True):
    """A preferred response and, where there is one, the wrong attempt it is preferred to. Written by `pair`.

    `rejected` is None for a question solved without a wrong attempt: it feeds the NLL term alone.
    `origin` names where `chosen` comes from: the student's correction, its own right sample, or the teacher.
    """

    question: Question
    chosen: str
    rejected: str | None
    origin: Literal["correction", "own", "teacher"]
    is_chosen_sound: bool | None = None


class ScoredPair(Record, frozen=True, kw_only=True):
    """A pair with its reference log-probabilities: nats, summed over response tokens. Written by `reference`."""

    pair: PreferencePair
    reference_chosen_logp: float
    reference_rejected_logp: float | None


class Score(Record, frozen=True, kw_only=True):
    """Accuracy of one checkpoint on one split. Written by `evaluate`, read by `report`."""

    data: str
    split: Split
    num_questions: int
    num_correct: int
    num_unparsed: int
    num_sound: int | None
    accuracy: float
    ci_low: float
    ci_high: float
    chance: float
    commonest_letter: str
    commonest_letter_accuracy: float
    mean_tokens: float


class Prompt(Record, frozen=True, kw_only=True):
    """What an engine is asked: an optional system message and the user message. The engine applies the chat template."""

    system: str
    user: str
