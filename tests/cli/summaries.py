"""Runs as they leave their summaries and predictions, without having been run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from medcritical.evaluation import score_attempts
from medcritical.records import Attempt, Question, Score
from medcritical.reporting.summary import LedgerEntry, Summary, SummaryRow, write_summary
from medcritical.store import Costs, write_records


def attempt(name: str, is_correct: bool) -> Attempt:
    question = Question(
        id=name, stem="?", options={"A": "a", "B": "b"}, answer="A", language="en", split="test", source="clinic"
    )
    return Attempt(
        question=question,
        text="",
        letters="A" if is_correct else "B",
        rule="tag",
        is_correct=is_correct,
        is_well_formed=True,
        is_sound=None,
        prompt_tokens=1,
        completion_tokens=1,
        round=0,
    )


Scored = tuple[SummaryRow, list[Attempt]]


def scored(
    arm: str,
    iteration: int,
    seed: int,
    answers: list[bool],
    title: str,
    *,
    run: str = "demo",
    artefact: str = "",
    data_seed: int | None = None,
) -> Scored:
    """A row and its predictions; every seed asks other questions, unless a `data_seed` says whose."""
    data_seed = seed if data_seed is None else data_seed
    accuracy = sum(answers) / len(answers)
    row = SummaryRow(
        run=run,
        arm=arm,
        title=title,
        stage="sft" if arm == "sft" else "dpo",
        iteration=iteration,
        beta=None if arm == "sft" else 0.1,
        seed=seed,
        data="clinic",
        split="test",
        num_questions=len(answers),
        num_correct=sum(answers),
        accuracy=accuracy,
        unparsed=0,
        undecided=0,
        verifier="exact",
        sound=None,
        teacher_tokens=1000,
        student_tokens=2000 * iteration,
        seconds=1.5,
        artefact=artefact or f"score/{arm}{iteration}{seed}",
        chance=0.25,
        commonest_letter_accuracy=0.27,
        data_seed=data_seed,
    )
    return row, [attempt(f"seed{data_seed}-{number}", right) for number, right in enumerate(answers)]


def summarise(rows: Sequence[SummaryRow], scores: Mapping[str, Score], store: str, confidence: float = 0.95) -> Summary:
    """A run whose checkpoints were all made by one teaching, and those of DPO by one play too."""
    teach = LedgerEntry(stage="teach", costs=Costs(teacher_tokens=1000, teacher_prompt_tokens=250, seconds=4))
    play = LedgerEntry(stage="play", costs=Costs(student_tokens=2000, student_prompt_tokens=500, seconds=8))
    return Summary(
        store=store,
        confidence=confidence,
        rows=tuple(rows),
        predictions={row.artefact: f"{row.artefact}/predictions.jsonl" for row in rows},
        scores=dict(scores),
        lineage={row.artefact: ("teach/shared",) if row.arm == "sft" else ("teach/shared", "play/1") for row in rows},
        scoring={row.artefact: (row.artefact,) for row in rows},
        ledger={"teach/shared": teach, "play/1": play}
        | {row.artefact: LedgerEntry(stage="score", costs=Costs(seconds=1)) for row in rows},
    )


def write_run(folder: Path, store: Path, *checkpoints: Scored, confidence: float = 0.95) -> None:
    """A run's summary in `folder`, its predictions in `store`."""
    for row, attempts in checkpoints:
        shuffled = attempts if row.arm == "sft" else attempts[::-1]  # order in the file carries no meaning
        write_records(store / row.artefact / "predictions.jsonl", shuffled)
    scores = {row.artefact: score_attempts(attempts, split="test") for row, attempts in checkpoints}
    write_summary(folder / "summary.json", summarise([row for row, _ in checkpoints], scores, str(store), confidence))
