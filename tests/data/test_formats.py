"""What each format's parser takes from a row, on rows small enough to read."""

import json
from pathlib import Path
from typing import Any

import pytest

from medcritical.config.choices import DataFormat, OnError
from medcritical.data.load import LoadResult, load_questions, read_questions
from medcritical.data.publications import PUBLICATIONS
from medcritical.errors import DataError

OPTIONS = {"A": "aspirin", "B": "heparin"}


def load(folder: Path, format: DataFormat, text: str, name: str = "exam.txt") -> LoadResult:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_questions(
        path, format, encoding="utf-8", language="en", source="exam", on_error=OnError.reject, split="dev"
    )


def load_lines(folder: Path, format: DataFormat, *rows: dict[str, Any]) -> LoadResult:
    return load(folder, format, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))


def test_every_format_but_the_clinic_is_published_and_loads() -> None:
    assert set(PUBLICATIONS) == set(DataFormat) - {DataFormat.clinic}


@pytest.mark.parametrize("format", PUBLICATIONS)
def test_missing_file_says_where_to_get_it(tmp_path: Path, format: DataFormat) -> None:
    with pytest.raises(DataError) as missing:
        load_questions(
            tmp_path / "absent",
            format,
            encoding="utf-8",
            language="en",
            source="exam",
            on_error=OnError.reject,
            split="train",
        )
    source = PUBLICATIONS[format]
    assert "does not exist" in str(missing.value)
    assert "data.files.train" in str(missing.value)
    if source.publisher.startswith("github"):
        assert source.publisher in str(missing.value)
        assert source.licence in str(missing.value)


def test_file_without_usable_question_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_text('{"stem": "Which?"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"no usable question(.|\n)*record 1: options have an unknown shape"):
        load_questions(
            path,
            DataFormat.jsonl,
            encoding="utf-8",
            language="en",
            source="exam",
            on_error=OnError.reject,
            split="train",
        )


def test_the_clinic_is_no_file_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="clinic is no file format"):
        load(tmp_path, DataFormat.clinic, "x")


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"answer_idx": "B", "answer": "heparin"}, "B"),
        ({"answer_idx": None, "answer": "heparin"}, "B"),
        ({"answer": "b", "answer_index": 1}, "B"),  # MMLU-Pro as its authors publish it
    ],
)
def test_medqa_answers(tmp_path: Path, fields: dict[str, Any], answer: str) -> None:
    row = {"question": "Which?", "options": OPTIONS, "meta_info": "step1", **fields}
    (question,) = load_lines(tmp_path, DataFormat.medqa_jsonl, row).questions
    assert (question.answer, question.split, question.meta) == (answer, "dev", {"step": "step1"})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"answer_idx": "B", "answer": "aspirin"}, "answer text differs from its option"),
        ({"answer_idx": 1}, "answer_idx is not text"),
        ({"answer": "warfarin"}, "answer is not among the options"),
        ({"answer": "stents 2"}, "answer is not letters"),
        ({"answer": "A", "options": {"A": "B", "B": "A"}}, "letter of one option and the text of another"),
        ({"answer_idx": "A", "options": {"A": "x"}}, "fewer than two options"),
        ({"answer_idx": "A", "options": {"A": "x", "B": " "}}, "empty option"),
        ({"answer_idx": "A", "question": " \u200b"}, "empty stem"),
        ({"answer_idx": "A", "realidx": 1.5}, "id is neither text nor a whole number"),
    ],
)
def test_medqa_rejections(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    report = load_lines(tmp_path, DataFormat.medqa_jsonl, {"question": "Which?", "options": OPTIONS, **fields}).report
    assert reason in report.rejected[0].reason


def test_signs_tell_options_apart(tmp_path: Path) -> None:
    row = {"question": "Which?", "options": {"A": "x < 5", "B": "x > 5", "C": "X > 5"}, "answer_idx": "A"}
    (question,) = load_lines(tmp_path, DataFormat.medqa_jsonl, row).questions
    assert list(question.options.values()) == ["x < 5", "x > 5", "X > 5"]


def test_contradicting_copies_all_go(tmp_path: Path) -> None:
    row = {"question": "Which?", "options": OPTIONS}
    other = {"question": "Which other?", "options": OPTIONS, "answer_idx": "A"}
    rows = [row | {"answer_idx": "A"}, other, row | {"answer_idx": "B"}, row | {"answer_idx": "A"}]
    result = load_lines(tmp_path, DataFormat.medqa_jsonl, *rows)
    assert [question.stem for question in result.questions] == ["Which other?"]
    assert [fault.record for fault in result.report.rejected] == [1, 3, 4]


def test_mmlu_takes_its_subject_from_the_file_name(tmp_path: Path) -> None:
    result = load(tmp_path, DataFormat.mmlu_csv, '"Which, then?",w,x,y,z,D\nshort,row\n', "anatomy_test.csv")
    assert result.questions[0].meta == {"subject": "anatomy"}
    assert result.questions[0].answer_texts == ("z",)
    assert result.report.rejected[0].record == 2


def test_medmcqa_null_option_keeps_its_letter_free(tmp_path: Path) -> None:
    row = {"question": "Which?", "opa": "w", "opb": None, "opc": "y", "opd": "z", "cop": 3, "subject_name": "Anatomy"}
    (question,) = load_lines(tmp_path, DataFormat.medmcqa_jsonl, row).questions
    assert (question.options, question.answer) == ({"A": "w", "C": "y", "D": "z"}, "C")
    assert question.meta == {"subject": "Anatomy"}


def converse(question: str, reply: str, **fields: Any) -> dict[str, Any]:
    turns = [{"from": "system", "value": "你是医生"}, {"from": "human", "value": question}]
    return {"conversations": [*turns, {"from": "gpt", "value": reply}], **fields}


@pytest.mark.parametrize(
    "row",
    [
        converse("首选药物是\nA. 阿司匹林\nB. 肝素", "分析如下……答案是：B。这是一些相关的背景信息：A 也常用。"),
        converse("首选药物是", "答案是：肝素", options={"A": "阿司匹林", "B": "肝素"}),
        converse("首选药物是\n（A）阿司匹林\n（B）肝素", "答案是: B. 肝素"),
    ],
)
def test_conversations_with_options_are_questions(tmp_path: Path, row: dict[str, Any]) -> None:
    (question,) = load_lines(tmp_path, DataFormat.sharegpt_json, row).questions
    assert (question.stem, question.options, question.answer) == (
        "首选药物是",
        {"A": "阿司匹林", "B": "肝素"},
        "B",
    )


@pytest.mark.parametrize(
    ("stem", "options"),
    [
        ("A 67-year-old woman has chest pain.", "A. aspirin\nB. heparin"),
        ("A 67-year-old woman has chest pain.", "A aspirin\nB heparin"),
        ("A 67-year-old woman has chest pain.\nA drug is given.", "(A) aspirin\n(B) heparin"),
        ("I have chest pain, says a patient.", "A) aspirin\nB) heparin"),
        ("A patient speaks:\nI have chest pain.", "A aspirin\nB heparin"),
        ("Vital signs:\nT 36.5, P 80", "A. aspirin\nB. heparin"),
        ("Which?", "B. heparin\nA. aspirin"),
        ("Which?", "B heparin\nA aspirin"),
    ],
)
def test_a_stem_that_begins_with_a_letter_is_no_option(tmp_path: Path, stem: str, options: str) -> None:
    (question,) = load_lines(tmp_path, DataFormat.sharegpt_json, converse(f"{stem}\n{options}", "答案是：B")).questions
    assert (question.stem, question.options) == (stem, OPTIONS)


@pytest.mark.parametrize("options", ["A. x\nB. y\nB. z\nC. w", "A. x\nB. y\nA. z\nB. w", "A x\nB y\nA z\nC w"])
def test_options_that_share_a_letter_are_still_rejected(tmp_path: Path, options: str) -> None:
    report = load_lines(tmp_path, DataFormat.sharegpt_json, converse(f"Which?\n{options}", "答案是：B")).report
    assert [fault.reason for fault in report.rejected] == ["two options have one letter"]


@pytest.mark.parametrize("label", ["{}. ", "{} ", "({}) "])
def test_real_vignettes_are_the_same_in_conversations(shared_data: Path, tmp_path: Path, label: str) -> None:
    lines = (shared_data / "medqa" / "US" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines[:300]) if not any("\n" in text for text in row["options"].values())]
    rows_as_turns = []
    for row in rows:
        listed = "\n".join(label.format(letter) + text for letter, text in row["options"].items())
        rows_as_turns.append(converse(f"{row['question']}\n{listed}", f"答案是：{row['answer_idx']}"))
    expected = load_lines(tmp_path, DataFormat.medqa_jsonl, *rows).questions
    found = load_lines(tmp_path, DataFormat.sharegpt_json, *rows_as_turns).questions
    assert [(one.stem, one.options, one.answer) for one in found] == [
        (one.stem, one.options, one.answer) for one in expected
    ]
    assert any(one.stem.startswith("A ") for one in found)


def test_an_answer_named_in_the_background_text_is_not_gold(tmp_path: Path) -> None:
    reply = "有人认为答案是A。答案是：B。这是一些相关的背景信息：常被误认为答案是A"
    only_there = "这是一些相关的背景信息：常被误认为答案是A"
    rows = [converse("首选药物是\nA. 阿司匹林\nB. 肝素", one) for one in (reply, only_there)]
    result = load_lines(tmp_path, DataFormat.sharegpt_json, *rows)
    assert [question.answer for question in result.questions] == ["B"]
    assert [fault.sentence for fault in result.report.skipped] == ["no answer"]


def test_free_text_conversations_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = [converse("首选药物是什么？", "答案是：肝素。"), converse("A. x\nB. y", "答案是：B"), {"conversations": []}]
    report = load_lines(tmp_path, DataFormat.sharegpt_json, *rows).report
    assert [fault.sentence for fault in report.skipped] == ["no options: free-text gold is not multiple choice"]
    assert [fault.reason for fault in report.rejected] == [
        "empty stem",
        "no question turn with an answer turn after it",
    ]


def test_own_form_keeps_its_fields(tmp_path: Path) -> None:
    row = {"id": "q-1", "stem": "哪个？", "options": OPTIONS, "answer": "AB", "language": "zh", "meta": {"year": 2020}}
    (question,) = load_lines(tmp_path, DataFormat.jsonl, row | {"split": "test"}).questions
    assert (question.id, question.language, question.source, question.split) == ("q-1", "zh", "exam", "dev")
    assert question.meta == {"year": 2020}
    typo = load_lines(tmp_path, DataFormat.jsonl, row | {"anwser": "A"}).report
    assert typo.rejected[0].sentence.startswith("unknown field: 'anwser', known are answer, explanation,")


def test_id_without_an_upstream_one_depends_on_content_only(tmp_path: Path) -> None:
    one, two = ({"stem": stem, "options": OPTIONS, "answer": "A"} for stem in ("Which  one?", "Which two?"))
    forward = load_lines(tmp_path, DataFormat.jsonl, one, two).questions
    spaced = one | {"stem": "Which one?"}
    backward = load_lines(tmp_path, DataFormat.jsonl, two, spaced).questions
    assert [question.id for question in forward] == [question.id for question in reversed(backward)]
    assert forward[0].id.startswith("exam-")


def test_messages_escape_what_comes_from_data(tmp_path: Path) -> None:
    row = {"question": "Which?", "options": OPTIONS, "answer_idx": "\u001b[31m" + "7" * 100}
    sentence = load_lines(tmp_path, DataFormat.medqa_jsonl, row).report.rejected[0].sentence
    assert sentence.isprintable()
    assert len(sentence) < 100


@pytest.mark.parametrize(
    ("cop", "answer"),
    [(2, "B"), ("2", "B"), (2.0, "B"), (" 2.0 ", "B"), (-1, None), (-1.0, None), ("", None), (None, None)],
)
def test_cop_counts_from_one_however_it_is_written(tmp_path: Path, cop: object, answer: str | None) -> None:
    row = {"question": "Which?", "opa": "w", "opb": "x", "opc": "y", "opd": "z", "cop": cop, "id": "1"}
    result = load_lines(tmp_path, DataFormat.medmcqa_jsonl, row)
    assert [question.answer for question in result.questions] == ([answer] if answer else [])
    assert len(result.report.skipped) == (answer is None)


@pytest.mark.parametrize("cop", [0, 5, 1.5, "--1", "²", True, [1], "a"])
def test_any_other_cop_is_rejected(tmp_path: Path, cop: object) -> None:
    row = {"question": "Which?", "opa": "w", "opb": "x", "opc": "y", "opd": "z", "cop": cop, "id": "1"}
    (fault,) = load_lines(tmp_path, DataFormat.medmcqa_jsonl, row).report.rejected
    assert fault.reason == "cop is not 1 to 4"


def test_answer_with_its_label_agrees_with_its_option(tmp_path: Path) -> None:
    row = {"question": "Which?", "options": OPTIONS, "answer_idx": "A", "answer": "A. aspirin"}
    bare = {"question": "Which other?", "options": OPTIONS, "answer": "(B) heparin"}
    assert [one.answer for one in load_lines(tmp_path, DataFormat.medqa_jsonl, row, bare).questions] == ["A", "B"]


def test_old_line_ends_part_json_lines(tmp_path: Path) -> None:
    rows = [{"question": f"Which {n}?", "options": OPTIONS, "answer_idx": "A"} for n in range(3)]
    assert len(load(tmp_path, DataFormat.medqa_jsonl, "\r".join(map(json.dumps, rows))).questions) == 3
