"""Official test ids: what they name is test, and nothing else is."""

import json
from pathlib import Path

import pytest

from medcritical.config.schema import SplitSizes
from medcritical.data.test_ids import assign_test_ids, read_test_ids, upstream_id
from medcritical.errors import DataError
from medcritical.records import Question


def make(number: int, stem: str = "", answer: str = "A") -> Question:
    return Question(
        id=f"pub-{number}",
        stem=stem or f"Does {number} help?",
        options={"A": "yes", "B": "no"},
        answer=answer,
        language="en",
        split="train",
        source="pub",
    )


QUESTIONS = [make(number) for number in range(10)]
ALL = SplitSizes(train=None, dev=2, test=None)


def by_split(questions: list[Question], split: str) -> list[str]:
    return [upstream_id(question) for question in questions if question.split == split]


def test_the_ids_are_test_and_the_rest_is_dev_and_train() -> None:
    found = assign_test_ids(QUESTIONS, {"7": "yes", "2": "A", "9": ""}, ALL, seed=0)
    assert sorted(by_split(found.questions, "test")) == ["2", "7", "9"]
    assert len(by_split(found.questions, "dev")) == 2
    assert len(by_split(found.questions, "train")) == 5
    assert len({question.id for question in found.questions}) == 10
    assert found.missing == ()
    other = assign_test_ids(QUESTIONS[::-1], {"2": "", "9": "", "7": ""}, ALL, seed=0)
    assert by_split(other.questions, "dev") == by_split(found.questions, "dev")


def test_sizes_limit_each_split() -> None:
    sizes = SplitSizes(train=3, dev=0, test=1)
    found = assign_test_ids(QUESTIONS, {"1": "", "2": ""}, sizes, seed=0).questions
    assert len(by_split(found, "test")) == 1
    assert len(by_split(found, "train")) == 3
    assert by_split(found, "dev") == []


def test_ids_without_a_question_are_told() -> None:
    assert assign_test_ids(QUESTIONS, {"5": "", "x": "", "y": ""}, ALL, seed=0).missing == ("x", "y")


def test_a_copy_of_a_test_question_is_not_trained_on() -> None:
    copies = [*QUESTIONS, make(77, stem="Does  3 help?")]
    found = assign_test_ids(copies, {"3": ""}, ALL, seed=0).questions
    assert "77" not in {upstream_id(question) for question in found}


@pytest.mark.parametrize(
    ("ids", "said"),
    [({"x": "", "y": ""}, "None of the 2 test ids, such as 'x'"), ({"4": "no"}, "says 'no' for 4.*has 'yes'")],
)
def test_lists_that_do_not_belong_to_the_questions(ids: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        assign_test_ids(QUESTIONS, ids, ALL, seed=0)


def test_lists_are_read_as_object_or_array(tmp_path: Path) -> None:
    paths = [tmp_path / "object.json", tmp_path / "array.json"]
    paths[0].write_text(json.dumps({"1": "yes"}), encoding="utf-8")
    paths[1].write_text('[2, "3"]', encoding="utf-8")
    assert read_test_ids(map(str, paths)) == {"1": "yes", "2": "", "3": ""}


@pytest.mark.parametrize("text", ["{}", "[]", "7", '{"1": {"QUESTION": "q"}}', "[[1]]", "{", '"ids"', "[" * 100_000])
def test_what_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ids.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"ids\.json is (no list of test ids|not valid JSON)"):
        read_test_ids([str(path)])
    with pytest.raises(DataError, match="official test ids"):
        read_test_ids([str(tmp_path / "nowhere.json")])
