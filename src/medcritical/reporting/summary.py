"""`summary.json`: the scores of one run, one row per scored checkpoint. docs/summary.md describes every field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from medcritical.errors import DataError
from medcritical.records import Record, Score, Split
from medcritical.store import Costs, record_files, write_json

SCHEMA = 3
SUMMARY = "summary.json"
BASE, STAGE_1 = "base", "sft"
"""The arms of the untrained student, and of the stage-1 checkpoint, where every other arm starts."""


Replicate = tuple[int, int, int]
"""Seeds of questions, teacher and training: rows that differ in nothing else are repetitions of one experiment."""


class OlderSummaryError(DataError):
    """A summary that an older version of this program wrote."""


class SummaryRow(Record, frozen=True, kw_only=True):
    """Score and costs of one checkpoint on one split. Written at the end of a run, read by `medcritical report`.

    `run` is the run's name: rows are pooled over seeds only within one. `arm` is the arm's key in the configuration,
    `title` its printed name. `iteration` is 0 for the untrained student (`stage` "base") and after stage 1, then 1..T.
    `seed` is that of initial weights, sampling and training; `data_seed` and `teacher_seed` are those of questions and teacher.
    `verifier` is "exact" or the judge's name, who left `undecided` answers open. Token counts and seconds are of the checkpoint
    and all it was made from, each artefact once; None where nothing recorded them. `equal` says in what the arm was made equal
    with another one, empty where it is none that trains.
    """

    run: str
    arm: str
    title: str
    stage: str
    iteration: int
    beta: float | None
    seed: int
    data: str
    split: Split
    num_questions: int
    num_correct: int
    accuracy: float
    unparsed: int
    undecided: int
    verifier: str
    sound: int | None
    teacher_tokens: int | None
    student_tokens: int | None
    seconds: float | None
    artefact: str
    chance: float
    commonest_letter_accuracy: float
    equal: str = ""
    data_seed: int = 0
    teacher_seed: int = 0

    @property
    def replicate(self) -> Replicate:
        """The row's seeds."""
        return self.data_seed, self.teacher_seed, self.seed

    def __post_init__(self) -> None:
        if self.num_questions < 1:
            raise ValueError(f"row {self.artefact!r} scores no question")
        for name in ("num_correct", "unparsed", "undecided", "sound"):
            count = getattr(self, name)
            if count is not None and not 0 <= count <= self.num_questions:
                raise ValueError(f"row {self.artefact!r}: {name} {count} is not between 0 and {self.num_questions}")


class Money(Record, frozen=True, kw_only=True):
    """What the tokens of one artefact cost, by who read and wrote them."""

    currency: str
    teacher: float
    student: float
    judge: float


class LedgerEntry(Record, frozen=True, kw_only=True):
    """What one artefact took. `money` is None without a price table."""

    stage: str
    costs: Costs
    money: Money | None = None


class Summary(Record, frozen=True, kw_only=True):
    """All rows of one run, the scores behind them, what they cost, and where the predictions lie.

    `store` is the store's folder, absolute or relative to the summary's own folder, `confidence` the level of the intervals that
    the run asks for: counts are stored, and whoever shows an interval computes it. The rest is by a row's artefact:
    `predictions` holds the path, relative to the store, of the JSONL of `Attempt` that it was counted from, `scores` the
    score in full, `lineage` the artefacts that its checkpoint was made from, the checkpoint among them, `scoring` those that
    the score was made from besides: the checkpoint's answers, and the score itself. `ledger` has an entry for each of these.
    """

    schema: int = SCHEMA
    store: str
    confidence: float
    rows: tuple[SummaryRow, ...]
    predictions: dict[str, str]
    scores: dict[str, Score]
    lineage: dict[str, tuple[str, ...]]
    scoring: dict[str, tuple[str, ...]]
    ledger: dict[str, LedgerEntry]

    def predictions_path(self, folder: Path, artefact: str) -> Path | None:
        """Where a row's predictions lie, for a summary read from `folder`; None where it names none."""
        relative = self.predictions.get(artefact)
        return None if relative is None else folder / self.store / relative


@dataclass
class Results:
    """What any number of summaries say together.

    `predictions` names the files that are there, `folders` the artefacts of `ledger` whose folder is, `confidences` the levels
    that the runs ask for.
    """

    rows: list[SummaryRow] = field(default_factory=list)
    predictions: dict[str, Path] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    lineage: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scoring: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ledger: dict[str, LedgerEntry] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    confidences: set[float] = field(default_factory=set)


def gather(summaries: Iterable[tuple[Path, Summary]]) -> Results:
    """Summaries, each with the folder it was read from, as one. What runs share is there once, as the first says it."""
    results = Results()
    for folder, summary in summaries:
        results.rows += summary.rows
        results.confidences.add(summary.confidence)
        for artefact in summary.predictions:
            path = summary.predictions_path(folder, artefact)
            if path is not None and record_files(path):
                results.predictions.setdefault(artefact, path)
        for artefact in summary.ledger:
            place = folder / summary.store / artefact
            if artefact not in results.folders and place.is_dir():
                results.folders[artefact] = place
        results.scores = summary.scores | results.scores
        results.lineage = summary.lineage | results.lineage
        results.scoring = summary.scoring | results.scoring
        results.ledger = summary.ledger | results.ledger
    return results


def main_arms(rows: Iterable[SummaryRow]) -> list[str]:
    """The arms that a run is about: all but the untrained student and stage 1, or the later of these where no other is."""
    arms = list(dict.fromkeys(row.arm for row in rows))
    return [arm for arm in arms if arm not in (BASE, STAGE_1)] or arms[-1:]


def write_summary(path: Path, summary: Summary) -> None:
    """Write a summary, whole file or nothing. Raises ArtefactError on a full disk or a read-only folder."""
    write_json(path, summary)


def read_summary(path: Path) -> Summary:
    """The summary in a file. Raises DataError when it is missing, of another schema (OlderSummaryError), or no summary at all."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"cannot read the summary {path}: {error}.") from error
    if not isinstance(content, dict) or "schema" not in content or "rows" not in content:
        raise DataError(f"{path} is no run summary: it has no 'schema' and 'rows'; give a folder that a run wrote.")
    schema = content["schema"]
    if isinstance(schema, int) and schema < SCHEMA:
        raise OlderSummaryError(
            f"{path} has summary schema {schema}, of an older version of medcritical, and this one reads {SCHEMA}: run the "
            "experiment again, which makes a new folder, and remove that one or leave it out."
        )
    if schema != SCHEMA:
        raise DataError(
            f"{path} has summary schema {schema!r}, and this version of medcritical reads {SCHEMA}: update it."
        )
    try:
        return msgspec.convert(content, Summary)
    except msgspec.ValidationError as error:
        raise DataError(f"{path} is a damaged summary: {error}; run the experiment again to rewrite it.") from error
