"""`summary.json`: the scores of one run, one row per scored checkpoint. docs/summary.md describes every field."""

from __future__ import annotations

from pathlib import Path

import msgspec

from medcritical.errors import DataError
from medcritical.records import Record, Split
from medcritical.store import write_json

SCHEMA = 1
SUMMARY = "summary.json"


class SummaryRow(Record, frozen=True, kw_only=True):
    """Score and costs of one checkpoint on one split. Written at the end of a run, read by `medcritical-report`.

    `run` is the run's name: rows are pooled over seeds only within one. `arm` is the arm's key in the configuration,
    `title` its printed name. `iteration` is 0 for the untrained student (`stage` "base") and after stage 1, then 1..T.
    `ci_low` and `ci_high` bound the Wilson interval at level `confidence`. Token counts and seconds are of the
    checkpoint and all it was made from, each artefact once; None where nothing recorded them.
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
    ci_low: float
    ci_high: float
    confidence: float
    unparsed: int
    sound: int | None
    teacher_tokens: int | None
    student_tokens: int | None
    seconds: float | None
    artefact: str
    chance: float
    commonest_letter_accuracy: float

    def __post_init__(self) -> None:
        if self.num_questions < 1:
            raise ValueError(f"row {self.artefact!r} scores no question")
        for name in ("num_correct", "unparsed", "sound"):
            count = getattr(self, name)
            if count is not None and not 0 <= count <= self.num_questions:
                raise ValueError(f"row {self.artefact!r}: {name} {count} is not between 0 and {self.num_questions}")


class Summary(Record, frozen=True, kw_only=True):
    """All rows of one run and where the predictions behind them lie.

    `store` is the store's folder, absolute or relative to the summary's own folder. `predictions` maps a row's artefact
    to the path, relative to the store, of the JSONL of `Attempt` that it was counted from.
    """

    schema: int = SCHEMA
    store: str
    rows: tuple[SummaryRow, ...]
    predictions: dict[str, str]

    def predictions_path(self, folder: Path, artefact: str) -> Path | None:
        """Where a row's predictions lie, for a summary read from `folder`; None where it names none."""
        relative = self.predictions.get(artefact)
        return None if relative is None else folder / self.store / relative


def write_summary(path: Path, summary: Summary) -> None:
    """Write a summary, whole file or nothing. Raises ArtefactError on a full disk or a read-only folder."""
    write_json(path, summary)


def read_summary(path: Path) -> Summary:
    """The summary in a file. Raises DataError when it is missing, of another schema, or no summary at all."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"cannot read the summary {path}: {error}.") from error
    if not isinstance(content, dict) or "schema" not in content or "rows" not in content:
        raise DataError(f"{path} is no run summary: it has no 'schema' and 'rows'; give a folder that a run wrote.")
    if content["schema"] != SCHEMA:
        raise DataError(f"{path} has summary schema {content['schema']!r}; this version of medcritical reads {SCHEMA}.")
    try:
        return msgspec.convert(content, Summary)
    except msgspec.ValidationError as error:
        raise DataError(f"{path} is a damaged summary: {error}; run the experiment again to rewrite it.") from error
