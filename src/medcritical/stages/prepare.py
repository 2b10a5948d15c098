"""prepare: data files, or the clinic's world -> `questions.jsonl`, every question with its split."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace

from medcritical.config.schema import DataConfig, DataFormat, SplitRule, SplitSizes
from medcritical.config.stages import PrepareStage
from medcritical.data import LoadReport, assign_splits, load_questions
from medcritical.errors import DataError
from medcritical.records import Question, Split
from medcritical.stages.context import Inputs, Output
from medcritical.store import write_records
from medcritical.world import generate_questions

QUESTIONS = "questions.jsonl"


def run(config: PrepareStage, inputs: Inputs, output: Output) -> None:
    """Write all questions, train first. Facts: questions per split and, for files, the load report of each."""
    data = config.data
    if data.format is DataFormat.clinic:
        assert data.world is not None  # the configuration check has seen to it
        questions = generate_questions(data.world, data.sizes, data.seed)
    else:
        questions = _load(data, output)
    for split in ("train", "test"):
        if not any(question.split == split for question in questions):
            raise DataError(f"data={data.name} gives no {split} question: check data.files and data.sizes.{split}.")
    write_records(output.folder / QUESTIONS, questions)
    counts = Counter(question.split for question in questions)
    output.facts["questions"] = dict(counts)
    output.facts["shown"] = [", ".join(f"{count} {split}" for split, count in counts.items())]


def _load(data: DataConfig, output: Output) -> list[Question]:
    by_split: dict[Split, list[Question]] = {"train": [], "dev": [], "test": []}
    reports: list[LoadReport] = []
    for split, paths in asdict(data.files).items():
        for path in paths:
            result = load_questions(
                path,
                data.format,
                encoding=data.encoding,
                language=data.language,
                source=data.name,
                on_error=data.on_error,
                split=split,
            )
            by_split[split] += result.questions
            reports.append(result.report)
    output.facts["load_reports"] = [report.to_dict() for report in reports]
    for report in reports:
        print("\n".join(report.lines()))
    if data.split is SplitRule.seeded:
        return assign_splits([question for part in by_split.values() for question in part], data.sizes, data.seed)
    return _limit(by_split, data.sizes)


def _limit(by_split: dict[Split, list[Question]], sizes: SplitSizes) -> list[Question]:
    """The first questions of each official split, as many as the sizes allow. Raises DataError for an id in two splits."""
    limits = asdict(replace(sizes))
    chosen = [question for split, questions in by_split.items() for question in questions[: limits[split]]]
    repeated = [identifier for identifier, count in Counter(question.id for question in chosen).items() if count > 1]
    if repeated:
        raise DataError(f"question {repeated[0]} is in two files ({len(repeated)} such ids): use data.split=seeded.")
    return chosen
