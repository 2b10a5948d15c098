"""prepare: data files, or the clinic's world -> `questions.jsonl`, every question with its split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from medcritical.config.choices import DataFormat, SplitRule
from medcritical.config.schema import DataConfig
from medcritical.config.stages import PrepareStage
from medcritical.data.contamination import find_contamination
from medcritical.data.duplicates import drop_duplicates, name_splits_apart
from medcritical.data.load import load_questions
from medcritical.data.report import LoadReport, quote
from medcritical.data.splits import assign_splits, limit_splits
from medcritical.data.test_ids import assign_test_ids, read_test_ids
from medcritical.errors import DataError
from medcritical.records import Question, Split
from medcritical.stages.context import Inputs, Output
from medcritical.stages.shuffled import shuffle_question
from medcritical.store import read_json, write_json
from medcritical.world import generate_questions

QUESTIONS, CONTAMINATION = "questions.jsonl", "contamination.json"


def run(config: PrepareStage, inputs: Inputs, output: Output) -> None:
    """Write all questions, train first. Facts: questions per split and, for files, load reports and contamination."""
    data = config.data
    output.facts["details"] = []
    if data.format is DataFormat.clinic:
        assert data.world is not None  # the configuration check has seen to it
        questions = generate_questions(data.world, data.sizes, data.seed)
    else:
        questions = _load(data, output)
    for split in ("train", "test"):
        if not any(question.split == split for question in questions):
            fault = f"The data ({data.name}) gives no {split} question: check data.files and data.sizes.{split}."
            raise DataError(f"{fault} {_left_out(output)}".rstrip())
    if data.contamination is not None:
        _report_contamination(questions, data.contamination, output)
    if data.shuffle_options:
        questions = [shuffle_question(question, data.seed) for question in questions]
    output.write(QUESTIONS, questions)
    counts = Counter(question.split for question in questions)
    output.facts["questions"] = dict(counts)
    output.facts["shown"] = [", ".join(f"{count} {split}" for split, count in counts.items())]


def read_flagged(folder: Path) -> frozenset[str] | None:
    """Ids of the held-out questions that have a copy in train; None where `prepare` did not look for copies."""
    path = folder / CONTAMINATION
    if not path.is_file():
        return None
    return frozenset(overlap["heldout_id"] for overlap in read_json(path, dict[str, Any])["overlaps"])


def _report_contamination(questions: list[Question], threshold: float, output: Output) -> None:
    report = find_contamination(questions, threshold=threshold)
    found = report.to_dict()
    write_json(output.folder / CONTAMINATION, found)
    output.facts["contamination"] = {name: value for name, value in found.items() if name != "overlaps"}
    output.facts["details"] += report.lines(most=3)


def _load(data: DataConfig, output: Output) -> list[Question]:
    """Every question of the files, in its split."""
    if data.split is SplitRule.test_ids:
        questions = _load_files(data, "train", output)
        test_ids = read_test_ids(data.files.test)
        split = assign_test_ids(questions, test_ids, data.sizes, data.seed)
        output.facts["test_ids_without_question"] = list(split.missing)
        if split.missing:
            output.facts["details"].append(
                f"{len(split.missing)} of {len(test_ids)} test ids have no question, first {split.missing[0]!r}"
            )
        return split.questions
    splits: tuple[Split, ...] = ("train", "dev", "test")
    listed = [_load_files(data, split, output) for split in splits]
    pools = listed if data.split is SplitRule.official else [[question for part in listed for question in part]]
    parts = [drop_duplicates(pool) for pool in pools]
    output.facts["repeated_across_files"] = sum(len(repeated) for _, repeated in parts)
    listed_ids = [question.id for kept, _ in parts for question in kept]
    distinct = name_splits_apart(question for kept, _ in parts for question in kept)
    _note_named_apart([one.id for one, id in zip(distinct, listed_ids, strict=True) if one.id != id], output)
    try:
        if data.split is SplitRule.official:
            return limit_splits(distinct, data.sizes, data.seed)
        return assign_splits(distinct, data.sizes, data.seed, data.contamination)
    except DataError as error:
        raise DataError(f"{error} {_left_out(output)}".rstrip()) from error


def _left_out(output: Output) -> str:
    """A sentence on the records of the files that are no questions; empty where all of them are."""
    reports = output.facts.get("load_reports", [])
    read = sum(report["read"] for report in reports)
    skipped, rejected = (sum(len(report[kind]) for report in reports) for kind in ("skipped", "rejected"))
    if not skipped + rejected:
        return ""
    return (
        f"Of {read} records in the files {skipped} were skipped and {rejected} rejected: `medcritical data check FILE --format "
        "F` says which and why."
    )


def _load_files(data: DataConfig, split: Split, output: Output) -> list[Question]:
    """The questions of the files listed under a split. Each file's report goes into the facts."""
    questions: list[Question] = []
    paths: list[str] = getattr(data.files, split)
    for path in paths:
        result = load_questions(
            path,
            data.format,
            encoding=data.encoding,
            language=data.language,
            source=data.format.source,
            on_error=data.on_error,
            split=split,
        )
        questions += result.questions
        _note(result.report, output)
    return questions


def _note_named_apart(ids: list[str], output: Output) -> None:
    output.facts["ids_named_apart"] = len(ids)
    if ids:
        output.facts["details"].append(
            f"{len(ids)} ids of dev and test files are in other splits, too: their split was added, as in {quote(ids[0])}"
        )


def _note(report: LoadReport, output: Output) -> None:
    output.facts.setdefault("load_reports", []).append(report.to_dict())
    output.facts["details"] += report.lines(most=3, rest="manifest.json of this artefact has them all")
