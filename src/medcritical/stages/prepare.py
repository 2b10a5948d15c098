"""prepare: data files, or the clinic's world -> `questions.jsonl`, every question with its split."""

from __future__ import annotations

from collections import Counter

from medcritical.config.choices import DataFormat, SplitRule
from medcritical.config.schema import DataConfig
from medcritical.config.stages import PrepareStage
from medcritical.data.duplicates import drop_duplicates
from medcritical.data.load import load_questions
from medcritical.data.report import LoadReport
from medcritical.data.splits import assign_splits, limit_splits
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
    for split in by_split:
        for path in getattr(data.files, split):
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
    questions = [question for part in by_split.values() for question in part]
    if data.split is SplitRule.official:
        return limit_splits(questions, data.sizes, data.seed)
    distinct, repeated = drop_duplicates(questions)
    output.facts["repeated_across_files"] = len(repeated)
    return assign_splits(distinct, data.sizes, data.seed)
