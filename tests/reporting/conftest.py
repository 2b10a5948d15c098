"""Rows and scores for the reporting tests."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from medcritical.records import Attempt, Correction, Question, Score, Slice
from medcritical.reporting.summary import LedgerEntry, Results, Summary, SummaryRow, write_summary
from medcritical.store import ArtefactRef, Costs, Manifest, write_json, write_records
from wandb_log import isolate_wandb

MakeRow = Callable[..., SummaryRow]
MakeScore = Callable[..., Score]
MakeResults = Callable[..., Results]


@pytest.fixture(scope="session")
def make_row() -> MakeRow:
    """A row of 200 questions with given counts; anything else by keyword."""

    def make(
        arm: str = "sft", iteration: int = 0, num_correct: int = 100, seed: int = 0, **changes: object
    ) -> SummaryRow:
        fields: dict[str, object] = {
            "run": "demo",
            "arm": arm,
            "title": arm.upper(),
            "stage": arm if arm in ("base", "sft") else "dpo",
            "iteration": iteration,
            "beta": None if arm in ("base", "sft") else 0.1,
            "seed": seed,
            "data": "clinic",
            "split": "test",
            "num_questions": 200,
            "num_correct": num_correct,
            "accuracy": num_correct / 200,
            "ci_low": num_correct / 200 - 0.07,
            "ci_high": num_correct / 200 + 0.07,
            "confidence": 0.95,
            "unparsed": 3,
            "undecided": 0,
            "verifier": "exact",
            "sound": num_correct - 20,
            "teacher_tokens": 90_000,
            "student_tokens": 1_234_567 * iteration,
            "seconds": 41.2,
            "artefact": f"score/{arm}-{iteration}-{seed}",
            "chance": 0.25,
            "commonest_letter_accuracy": 0.275,
        }
        return SummaryRow(**{**fields, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_score() -> MakeScore:
    """A score of 200 questions, 100 of them right; anything else by keyword."""

    def make(**changes: object) -> Score:
        fields: dict[str, object] = {
            "split": "test",
            "num_questions": 200,
            "num_correct": 100,
            "num_unparsed": 3,
            "num_sound": None,
            "accuracy": 0.5,
            "ci_low": 0.43,
            "ci_high": 0.57,
            "chance": 0.25,
            "commonest_letter": "A",
            "commonest_letter_accuracy": 0.275,
            "mean_tokens": 40.0,
        }
        return Score(**{**fields, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_results(make_score: MakeScore) -> MakeResults:
    """Rows with a score each, and a ledger: `spent` says what the artefacts that each checkpoint was made from took.

    A row whose artefact is not in `spent` was made from nothing. Every scoring took one second.
    """

    def make(
        rows: Sequence[SummaryRow],
        scores: dict[str, Score] | None = None,
        spent: dict[str, dict[str, LedgerEntry]] | None = None,
    ) -> Results:
        scores, spent = scores or {}, spent or {}
        scoring = {row.artefact: LedgerEntry(stage="score", costs=Costs(seconds=1)) for row in rows}
        return Results(
            rows=list(rows),
            scores={row.artefact: scores.get(row.artefact, make_score()) for row in rows},
            lineage={row.artefact: tuple(spent.get(row.artefact, {})) for row in rows},
            scoring={row.artefact: (row.artefact,) for row in rows},
            ledger={name: entry for entries in spent.values() for name, entry in entries.items()} | scoring,
        )

    return make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """W&B finds no server and no login."""
    isolate_wandb(monkeypatch, tmp_path)


def write_artefact(
    store: Path, name: str, inputs: Mapping[str, str], files: Mapping[str, list[Any] | dict[str, Any]], **facts: Any
) -> None:
    """An artefact as a stage leaves it: JSON and JSON Lines files, and the manifest."""

    def ref(text: str) -> ArtefactRef:
        stage, key = text.split("/")
        return ArtefactRef(stage=stage, key=key)

    for file, content in files.items():
        write = write_records if isinstance(content, list) else write_json
        write(store / name / file, content)  # type: ignore[operator]
    manifest = Manifest(
        schema=1,
        ref=ref(name),
        version=1,
        config={},
        inputs={role: ref(text) for role, text in inputs.items()},
        files={},
        facts=facts,
        costs=Costs(),
        created="",
        medcritical="",
    )
    write_json(store / name / "manifest.json", manifest)


QUALITY = {
    "questions": 10,
    "pools": {"solved": 6, "corrected": 3, "stubborn": 1},
    "pairs": 4,
    "chosen_alone": 5,
    "corrections_tried": 8,
    "corrections_verified": 2,
    "malformed_attempts": 1,
    "duplicate_pairs": 0,
    "sound_chosen": None,
    "length_gap_words": 1.5,
    "overlap": 0.75,
}


def correction(number: int) -> Correction:
    question = Question(
        id=str(number),
        stem=f"患者发热{number}天",
        options={"A": "感冒", "B": "肺炎"},
        answer="B",
        language="zh",
        split="train",
        source="demo",
    )

    def attempt(letters: str) -> Attempt:
        return Attempt(
            question=question,
            text=f"答案是{letters}",
            letters=letters,
            rule="tag",
            is_correct=letters == "B",
            is_well_formed=True,
            is_sound=None,
            prompt_tokens=1,
            completion_tokens=1,
            round=0,
        )

    return Correction(wrong=attempt("A"), insight="没有考虑病程", corrected=attempt("B"))


@pytest.fixture
def finished_run(tmp_path: Path, make_run: Callable[[Path], Path]) -> Path:
    """What `make_run` makes, in a folder of the test's own."""
    return make_run(tmp_path)


@pytest.fixture(scope="session")
def store_artefact() -> Callable[..., None]:
    """Adds an artefact to a store; see `write_artefact`."""
    return write_artefact


@pytest.fixture(scope="session")
def make_run(make_row: MakeRow, make_score: MakeScore) -> Callable[[Path], Path]:
    """Makes a finished run below a folder; see `write_run`."""
    return lambda folder: write_run(folder, make_row, make_score)


def write_run(root: Path, make_row: MakeRow, make_score: MakeScore) -> Path:
    """The folder of a finished run, as run and store leave it: stage 1 in two passes, one self-play iteration of DPO.

    The second pass was stopped after step 2 and went on from step 1.
    """
    store = root / "store"
    again = [{"step": 1, "train/loss": 0.5}, {"step": 2, "train/loss": 0.4}]
    write_artefact(store, "student/0", {}, {})
    first = [{"step": 1, "train/loss": 2.0, "tokens": 10}, {"step": 4, "train/loss": 1.0, "tokens": 40}]
    write_artefact(store, "sft/1", {"checkpoint": "student/0"}, {"metrics.jsonl": first})
    write_artefact(
        store, "sft/2", {"checkpoint": "sft/1"}, {"metrics.jsonl": [*again, again[1], {**again[1], "step": 3}]}
    )
    play = {"corrections.jsonl": [correction(number) for number in range(3)]}
    write_artefact(store, "play/1", {"policy": "sft/2"}, play, alarms=["Format collapse."])
    write_artefact(store, "pair/1", {"play": "play/1"}, {"quality.json": QUALITY})
    write_artefact(store, "reference/1", {"pairs": "pair/1", "checkpoint": "sft/2"}, {})
    metrics = [
        {"step": step, "train/chosen_logp": -5.0, "train/rejected_logp": -5.0 - step, "train/margin": 0.1 * step}
        for step in (1, 2)
    ]
    write_artefact(
        store,
        "dpo/1",
        {"scored": "reference/1", "checkpoint": "sft/2"},
        {"metrics.jsonl": metrics},
        alarms=["Early saturation."],
    )
    rows = (make_row(), make_row("dpo_self", 1, 120, title="自我纠错"))
    part = Slice(
        annotation="科室",
        value="外科",
        num_questions=50,
        num_correct=20,
        num_unparsed=0,
        accuracy=0.4,
        ci_low=0.3,
        ci_high=0.5,
        chance=0.25,
        commonest_letter="A",
        commonest_letter_accuracy=0.3,
    )
    made = ("student/0", "sft/1", "sft/2")
    lineage = {rows[0].artefact: made, rows[1].artefact: (*made, "play/1", "pair/1", "reference/1", "dpo/1")}
    ledger = {
        name: LedgerEntry(stage=name.split("/")[0], costs=Costs(student_tokens=7)) for name in lineage[rows[1].artefact]
    }
    summary = Summary(
        store="../store",
        rows=rows,
        predictions={},
        scores={row.artefact: make_score(slices=(part,)) for row in rows},
        lineage=lineage,
        scoring={row.artefact: (row.artefact,) for row in rows},
        ledger=ledger | {row.artefact: LedgerEntry(stage="score", costs=Costs()) for row in rows},
    )
    folder = root / "demo-0123abcd"
    write_summary(folder / "summary.json", summary)
    logger = {"wandb": "disabled", "project": "medcritical", "entity": "", "tags": ["clinic"], "samples": 2}
    config = {"seed": 0, "logger": logger, "teacher": {"api_key": "s3cr3t-value"}, "selfplay": {"beta": 0.1}}
    write_json(folder / "config.json", config)
    write_records(folder / "system.jsonl", [{"step": 5.0, "cpu_percent": 50.0}, {"step": 10.0, "cpu_percent": 90.0}])
    return folder
