"""Every deliberately broken file gets what its index row says."""

import csv
import json
import os
from pathlib import Path

import pytest

from medcritical.cli.data import main
from medcritical.config.choices import DataFormat, OnError
from medcritical.data.load import LoadResult, load_questions
from medcritical.data.report import Fault, LoadReport
from medcritical.errors import DataError

REPOSITORY = Path(__file__).resolve().parents[2]
INDEX = Path(os.environ.get("MEDCRITICAL_SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "bad" / "INDEX.tsv"


def read_index() -> list[dict[str, str]]:
    if not INDEX.is_file():
        return []
    with INDEX.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


ROWS = read_index()


def load(folder: Path, name: str, format: str, encoding: str = "utf-8") -> LoadResult:
    return load_questions(
        folder / "bad" / name,
        DataFormat(format),
        encoding=encoding,
        language="zh",
        source="exam",
        on_error=OnError.reject,
        split="train",
    )


def load_report(folder: Path, row: dict[str, str]) -> LoadReport:
    return load(folder, row["file"], row["format"], "gb18030" if "gb18030" in row["file"] else "utf-8").report


def records(faults: list[Fault]) -> str:
    return ",".join(str(fault.record) for fault in faults)


def test_index_is_complete(shared_data: Path) -> None:
    assert len(ROWS) == 40


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_broken_file_gets_what_the_index_says(shared_data: Path, row: dict[str, str]) -> None:
    if row["expect"] == "reject_file":
        with pytest.raises(DataError, match=row["file"]):
            load_report(shared_data, row)
        return
    report = load_report(shared_data, row)
    assert (report.read, report.accepted) == (int(row["records"]), int(row["accept"]))
    assert (records(report.rejected), records(report.skipped)) == (row["reject"], row["skip"])
    assert all(fault.reason for fault in report.rejected + report.skipped)


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_the_command_says_the_same(shared_data: Path, row: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", str(shared_data / "bad" / row["file"]), "--format", row["format"], "--json"])
    found = json.loads(capsys.readouterr().out)
    is_refused = row["expect"] == "reject_file" or row["file"] == "cmexam_gb18030.csv"  # its encoding is not stated
    assert code == (2 if is_refused else 0)
    assert found["accepted"] == (0 if is_refused else int(row["accept"]))
    if not is_refused:
        numbers = [",".join(str(fault["record"]) for fault in found[kind]) for kind in ("rejected", "skipped")]
        assert (found["read"], *numbers) == (int(row["records"]), row["reject"], row["skip"])


@pytest.mark.parametrize(
    ("name", "format", "said"),
    [
        ("cmexam_answer_not_in_options.csv", "cmexam_csv", ["answer F, options ABCDE"]),
        ("medmcqa_cop_out_of_range.jsonl", "medmcqa_jsonl", ["cop is not 1 to 4: 0", "cop is not 1 to 4: 5"]),
        ("pubmedqa_bad_label.json", "pubmedqa_json", ["21342862"]),
        ("pubmedqa_duplicate_key.json", "pubmedqa_json", ["8375607 is also record 4", "8375607 is also record 1"]),
        ("mmlu_pro_duplicate_id.jsonl", "medqa_jsonl", ["6042 is record 1 and, with another question, record 3"]),
        ("cmexam_unescaped_quotes.csv", "cmexam_csv", ["5 cells where 4 are expected"]),
        ("cmexam_empty_options.csv", "cmexam_csv", ["fewer than two options: none"]),
        ("medqa_nan.jsonl", "medqa_jsonl", ["NaN", "NaN"]),
    ],
)
def test_reasons_name_the_values(shared_data: Path, name: str, format: str, said: list[str]) -> None:
    rejected = load(shared_data, name, format).report.rejected
    assert len(rejected) == len(said)
    for fault, words in zip(rejected, said, strict=True):
        assert words in fault.sentence


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cmexam_wrong_columns.csv", ["question, options, answer", "question_text"]),
        ("cmexam_git_lfs_pointer.csv", ["Git LFS pointer", "not downloaded"]),
        ("empty.csv", ["is empty"]),
        ("huatuo_truncated.json", ["line 47 column 24"]),
        ("cmexam_gb18030.csv", ["offset 36", "gb18030"]),
    ],
)
def test_refused_files_say_why(shared_data: Path, name: str, said: list[str]) -> None:
    format = "huatuo_json" if name.startswith("huatuo") else "cmexam_csv"
    with pytest.raises(DataError) as refused:
        load(shared_data, name, format)
    assert all(words in str(refused.value) for words in said)


@pytest.mark.parametrize(
    "name",
    ["cmexam_bom.csv", "cmexam_utf16le.csv", "cmexam_crlf.csv", "cmexam_literal_backslash_n.csv"],
)
def test_option_cells_split_into_five_clean_options(shared_data: Path, name: str) -> None:
    for question in load(shared_data, name, "cmexam_csv").questions:
        assert "".join(question.options) == "ABCDE"
        assert not any(mark in text for text in question.options.values() for mark in ("\r", "\\n", "\n", "\0"))


def test_labels_leave_the_option_text(shared_data: Path) -> None:
    styles = load(shared_data, "cmexam_option_label_styles.csv", "cmexam_csv").questions
    assert [question.options["B"] for question in styles] == [
        "延长Cl⁻通道开放时间",
        "有无漏写剂量",
        "地表物体对辐射热的吸收量小于散出量产生的",
    ]
    fullwidth = load(shared_data, "cmexam_fullwidth_letters.csv", "cmexam_csv").questions
    assert [question.answer for question in fullwidth] == ["C", "B", "D"]
    assert fullwidth[1].options["B"] == "0.5～1ml"


def test_answers_are_sorted_letters(shared_data: Path) -> None:
    def answers(name: str, format: str) -> list[str]:
        return [question.answer for question in load(shared_data, name, format).questions]

    assert answers("cmexam_answer_case_space.csv", "cmexam_csv") == ["B", "A"]
    assert answers("medqa_lowercase_answer.jsonl", "medqa_jsonl") == ["C", "D", "D"]
    assert answers("medmcqa_cop_out_of_range.jsonl", "medmcqa_jsonl") == ["B", "C"]
    multiple = load(shared_data, "cmexam_multi_answer.csv", "cmexam_csv")
    assert all(len(question.answer) > 1 and question.answer.isalpha() for question in multiple.questions)
    assert multiple.questions[-1].answer == "ABC"  # written CBA
    assert multiple.report.normalised["answer written in another form"] == 4


def test_letters_are_never_reassigned(shared_data: Path) -> None:
    first = load(shared_data, "medqa_options_missing_key.jsonl", "medqa_jsonl").questions[0]
    assert ("".join(first.options), first.answer, first.answer_texts) == ("BCDE", "B", ("Caspase-9",))
    ten = load(shared_data, "mmlu_pro_ten_options.jsonl", "medqa_jsonl").questions
    assert [len(question.options) for question in ten] == [10, 10, 3]
    listed, keyed = load(shared_data, "medqa_options_as_list.jsonl", "medqa_jsonl").questions
    assert (listed.options["B"], keyed.options["B"]) == ("Acid-fast", "Meningioma")


def test_placeholders_never_become_explanations(shared_data: Path) -> None:
    questions = load(shared_data, "cmexam_null_explanation.csv", "cmexam_csv").questions
    assert [question.explanation for question in questions] == [""] * 6
    long = load(shared_data, "cmexam_long_explanation.csv", "cmexam_csv").questions
    assert [len(question.explanation) for question in long] == [100_000, 140_000]


def test_content_keeps_its_own_characters(shared_data: Path) -> None:
    mixed = load(shared_data, "cmexam_mixed_languages.csv", "cmexam_csv").questions
    path = shared_data / "bad" / "cmexam_mixed_languages.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        raw = list(csv.DictReader(lines))
    assert [question.stem for question in mixed] == [row["Question"] for row in raw]
    assert ["\n".join(f"{key} {text}" for key, text in question.options.items()) for question in mixed] == [
        row["Options"] for row in raw
    ]
    quotes = load(shared_data, "cmexam_nested_quotes.csv", "cmexam_csv").questions
    assert any('"' in question.stem + question.explanation for question in quotes)


def test_invisible_characters_and_markup_go(shared_data: Path) -> None:
    hidden = load(shared_data, "medqa_control_chars.jsonl", "medqa_jsonl")
    assert hidden.questions[0].stem.startswith("A 45-year-old mechanic presents to the emergency department")
    assert not any(mark in hidden.questions[1].stem for mark in "\x1b\u200b\ufeff")
    assert hidden.report.normalised == {"control or zero-width characters": 2}
    markup = load(shared_data, "medmcqa_html_entities.jsonl", "medmcqa_jsonl").questions
    assert markup[0].stem == "Drug of choice when serum K+ > 6.5 & ECG shows tall T waves\u00a0is"
    assert markup[1].options["A"] == "Mandibular fracture (p<0.05)"
    assert markup[2].stem == "The drug not belonging to amide group (PaO2 <60 mmHg and pH >7.2)"


def test_instructions_in_data_change_nothing(shared_data: Path) -> None:
    questions = load(shared_data, "medqa_prompt_injection.jsonl", "medqa_jsonl").questions
    assert [question.answer for question in questions] == ["C", "B", "D", "E"]
    assert "<|im_end|>" in questions[1].stem  # kept as text; neutralised where prompts are made


def test_annotation_columns_become_slices(shared_data: Path) -> None:
    first = load(shared_data, "cmexam_extra_columns.csv", "cmexam_csv").questions[0]
    assert first.meta == {
        "disease_group": "内科",
        "competency": "不符合",
        "department": "临床医学",
        "discipline": "疾病诊断和鉴别诊断",
        "difficulty": "3",
    }


def test_skips_are_counted_by_reason(shared_data: Path) -> None:
    lines = load(shared_data, "medqa_duplicate_question.jsonl", "medqa_jsonl").report.lines(10, rest="")
    assert lines[-1].split() == ["skipped", "2", "duplicate", "question"]


def test_fail_stops_at_the_first_bad_row(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"medqa_line_not_object\.jsonl:2: unreadable record: not a JSON object"):
        load_questions(
            shared_data / "bad" / "medqa_line_not_object.jsonl",
            DataFormat.medqa_jsonl,
            encoding="utf-8",
            language="en",
            source="m",
            on_error=OnError.fail,
            split="train",
        )
