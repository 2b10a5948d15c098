"""The real files load whole, and the same questions come out of both shapes of one data set."""

from pathlib import Path

import pytest

from medcritical.config.choices import DataFormat, OnError
from medcritical.data.duplicates import drop_duplicates
from medcritical.data.load import LoadResult, load_questions
from medcritical.records import Question


def load(path: Path, format: str) -> LoadResult:
    return load_questions(
        path,
        DataFormat(format),
        encoding="utf-8",
        language="en",
        source="exam",
        on_error=OnError.reject,
        split="test",
    )


@pytest.mark.parametrize(
    ("file", "format", "read", "accepted", "skipped", "rejected"),
    [
        # The one rejected row: a wrong option has the text of the right one (the two saikosaponin b3 options).
        ("cmexam/val_part.csv", "cmexam_csv", 5000, 4999, 0, 1),
        ("medqa/US/test.jsonl", "medqa_jsonl", 873, 873, 0, 0),
        ("medqa/US/4_options/phrases_no_exclude_test.jsonl", "medqa_jsonl", 873, 873, 0, 0),
        ("medmcqa/dev.json", "medmcqa_jsonl", 2112, 2112, 0, 0),
        ("medagents_benchmark/medmcqa/test.jsonl", "medqa_jsonl", 2112, 2112, 0, 0),
        ("medagents_benchmark/mmlu-pro/test.jsonl", "medqa_jsonl", 818, 724, 94, 0),
        ("pubmedqa/ori_pqal.json", "pubmedqa_json", 850, 850, 0, 0),
        ("huatuo_o1/demo_data.json", "huatuo_json", 160, 160, 0, 0),
        ("mmlu/test/anatomy_test.csv", "mmlu_csv", 135, 135, 0, 0),
    ],
)
def test_real_files_load_whole(
    shared_data: Path, file: str, format: str, read: int, accepted: int, skipped: int, rejected: int
) -> None:
    result = load(shared_data / file, format)
    report = result.report
    assert (report.read, report.accepted, len(report.skipped), len(report.rejected)) == (
        read,
        accepted,
        skipped,
        rejected,
    )
    assert len({question.id for question in result.questions}) == accepted


def test_both_medmcqa_files_give_the_same_questions(shared_data: Path) -> None:
    def content(question: Question) -> tuple[str, str, dict[str, str], str]:
        return question.id, question.stem, question.options, question.answer

    published = load(shared_data / "medmcqa/dev.json", "medmcqa_jsonl").questions
    benchmark = load(shared_data / "medagents_benchmark/medmcqa/test.jsonl", "medqa_jsonl").questions
    assert list(map(content, published)) == list(map(content, benchmark))


def test_both_medqa_files_give_the_same_questions(shared_data: Path) -> None:
    five = load(shared_data / "medqa/US/test.jsonl", "medqa_jsonl").questions
    four = load(shared_data / "medqa/US/4_options/phrases_no_exclude_test.jsonl", "medqa_jsonl").questions
    for one, other in zip(five, four, strict=True):
        assert (one.stem, one.answer_texts) == (other.stem, other.answer_texts)
        assert set(other.options.values()) < set(one.options.values())


def test_cmexam_matches_the_published_facts(shared_data: Path) -> None:
    questions = load(shared_data / "cmexam/val_part.csv", "cmexam_csv").questions
    assert sum(len(question.answer) > 1 for question in questions) == 157
    assert sum(not question.explanation for question in questions) == 748  # 749 rows, one of them rejected
    assert sum("A" not in question.options or "C" not in question.options for question in questions) == 2
    singles = [question.answer for question in questions if len(question.answer) == 1]
    # The rejected row is the one that is missing from the published counts.
    counts = [singles.count(letter) for letter in "ABCDE"]
    assert sum(counts) == 926 + 1056 + 1033 + 981 + 847 - 1
    assert all(0 <= there - found <= 1 for found, there in zip(counts, (926, 1056, 1033, 981, 847), strict=True))


def test_pubmedqa_stem_has_contexts_and_question(shared_data: Path) -> None:
    questions = load(shared_data / "pubmedqa/ori_pqal.json", "pubmedqa_json").questions
    assert questions[0].stem.startswith("Programmed cell death")
    assert questions[0].stem.endswith("leaves during programmed cell death?")
    assert questions[0].id == "exam-21645374"
    assert [sum(question.answer == letter for question in questions) for letter in "ABC"] == [468, 285, 97]


def test_mmlu_repeats_across_files_are_dropped(shared_data: Path) -> None:
    files = sorted((shared_data / "mmlu/test").glob("*.csv"))
    pool = [question for file in files for question in load(file, "mmlu_csv").questions]
    kept, dropped = drop_duplicates(pool)
    assert (len(pool), len(kept) + len(dropped)) == (1089, 1089)
    assert len({question.id for question in kept}) == len(kept)
    assert {question.meta["subject"] for question in pool} >= {"anatomy", "medical_genetics"}
