"""The records that stages exchange: frozen, validated, one JSON object per line in an artefact.

A record carries what later stages need, so no stage joins backwards: an ``Attempt`` holds its ``Question``,
a ``Correction`` its ``Attempt``. ``split`` travels with every question, and training refuses a test row.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Split = Literal["train", "dev", "test"]
Judgement = Literal["right", "wrong", "undecided"]
Outcome = Literal["right", "wrong", "unparsed", "undecided"]


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


class Answered(Record, frozen=True, kw_only=True):
    """What a checkpoint said to a held-out question whose options stood in `order` (letters), a completion a sample.

    Nothing is read or judged yet. Written by `answer`, read by `score`.
    """

    question: Question
    order: str
    completions: tuple[Completion, ...]


class PermutedAnswers(Record, frozen=True, kw_only=True):
    """Answers to one question under several orders of its options, in the letters of the question itself.

    The first order is the question's own. Written by `score`.
    """

    question_id: str
    answer: str
    orders: tuple[str, ...]
    letters: tuple[str | None, ...]


class Attempt(Record, frozen=True, kw_only=True):
    """One try of the student at a question. Written by `play` and `score`.

    `letters` is the extracted answer (None: unparsed), `rule` the extraction rule that fired. `is_well_formed` holds
    when the response keeps the template's strict form to the end, whatever it answers.
    `is_sound` says whether the reasoning is right too,
    where the data set can tell (the clinic), else None.
    `judgement` is what an LLM judge decided, and then `is_correct` follows it; None where the rule alone decides.
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
    judgement: Judgement | None = None

    @property
    def outcome(self) -> Outcome:
        """What became of the attempt, one of four. A judge that gave no decision leaves it open: it is not wrong."""
        if self.is_correct:
            return "right"
        if self.judgement == "undecided":
            return "undecided"
        return "unparsed" if self.letters is None else "wrong"

    @property
    def is_wrong(self) -> bool:
        """True when the attempt may stand as an error: not right, and not left open by the judge."""
        return self.outcome in ("wrong", "unparsed")


class Correction(Record, frozen=True, kw_only=True):
    """One correction by the student of its own wrong attempt: `insight` says where and why it went wrong.

    `corrected` is the new attempt, judged like any other (its `text` is without the insight). `written` is the response of
    the corrector as it came. With `from_step` it begins at that step, and what `corrected` has before is the wrong
    attempt's own. Written by `play`.
    """

    wrong: Attempt
    insight: str
    corrected: Attempt
    written: str = ""
    from_step: int | None = None


class PreferencePair(Record, frozen=True, kw_only=True):
    """A preferred response and, where there is one, the wrong attempt it is preferred to. Written by `pair`.

    `rejected` is None for a question solved without a wrong attempt: it feeds the NLL term alone.
    `origin` names where `chosen` comes from: the student's correction, its own right sample, the teacher, or the wrong
    attempt with its answer put right. `iteration` made the pair. With `corrects`, a wrong attempt, it is an example for the
    corrector: `chosen` answers the correction prompt, from `from_step` on where that is set.
    """

    question: Question
    chosen: str
    rejected: str | None
    origin: Literal["correction", "own", "teacher", "answer"]
    is_chosen_sound: bool | None = None
    iteration: int = 1
    corrects: str | None = None
    from_step: int | None = None


class ScoredPair(Record, frozen=True, kw_only=True):
    """A pair with its reference log-probabilities: nats, summed over response tokens. Written by `reference`.

    Both are None for a response that is chosen alone: nothing compares it with the reference.
    """

    pair: PreferencePair
    reference_chosen_logp: float | None
    reference_rejected_logp: float | None


class Tally(Record, frozen=True, kw_only=True):
    """Outcomes of a group of questions, one attempt each. What is not right, unparsed or undecided is wrong.

    `chance` and `commonest_letter_accuracy` are what guessing and always giving the commonest answer would score. `jaccard` is
    the mean share of letters that answer and key have in common; an answer that is not there has none.
    """

    num_questions: int
    num_correct: int
    num_unparsed: int
    num_undecided: int = 0
    accuracy: float
    chance: float
    commonest_letter: str
    commonest_letter_accuracy: float
    jaccard: float = 0.0


class Slice(Tally, frozen=True, kw_only=True):
    """The tally of the questions whose `annotation` has this `value`, such as department: surgery."""

    annotation: str
    value: str


class Judged(Record, frozen=True, kw_only=True):
    """How often the judge said right, said wrong, or gave no decision."""

    right: int
    wrong: int
    undecided: int


class Agreement(Record, frozen=True, kw_only=True):
    """Rule against judge on the same answers: what the judge said where the rule found them right, wrong or unparsed.

    `kappa` is Cohen's, of right against not right over the answers that the judge decided on; None where one of the two
    has the same opinion of all of them and it is not defined.
    """

    right: Judged
    wrong: Judged
    unparsed: Judged
    kappa: float | None


class ExplanationScore(Record, frozen=True, kw_only=True):
    """Likeness of the explanations to those of the data set, as shares 0..1, over the questions that have one."""

    num_questions: int
    bleu_1: float
    bleu_4: float
    rouge_1: float
    rouge_2: float
    rouge_l: float


class Score(Tally, frozen=True, kw_only=True):
    """Accuracy of one checkpoint on one split. Written by `score`, read by `report`.

    `single` and `multi` part the questions with one right letter from those
    with several; both are None where all are of one kind. `agreement` is there where a judge decided, `explanation`
    where it was asked for.

    `num_flagged` questions have a copy in train, exact or near; None where nobody looked for copies.
    `accuracy_without_flagged` leaves them out; None also where nothing is left. With `permutations` > 1 every question
    was asked in that many orders of its options: `permuted_accuracy` is the mean over all of them, `consistency` the
    share of questions with one and the same answer in all.
    """

    split: Split
    num_sound: int | None
    mean_tokens: float
    single: Tally | None = None
    multi: Tally | None = None
    slices: tuple[Slice, ...] = ()
    agreement: Agreement | None = None
    explanation: ExplanationScore | None = None
    num_flagged: int | None = None
    accuracy_without_flagged: float | None = None
    permutations: int = 1
    permuted_accuracy: float | None = None
    consistency: float | None = None


class Prompt(Record, frozen=True, kw_only=True):
    """What an engine is asked: an optional system message and the user message. The engine applies the chat template.

    With `is_bare` it does not: the model reads the user's text and nothing else, and goes on from there.
    """

    system: str
    user: str
    is_bare: bool = False
