"""prepare: the configurations that ship on the real files, the reports it leaves, contamination and shuffling."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from configurations import REAL, configure
from medcritical.config.schema import Config
from medcritical.config.stages import PrepareStage
from medcritical.data.duplicates import question_key
from medcritical.errors import DataError
from medcritical.records import Question
from medcritical.stages.context import Inputs, Output
from medcritical.stages.prepare import CONTAMINATION, QUESTIONS, read_flagged, run
from medcritical.store import Store, read_json, read_records


def prepare(config: Config, folder: Path) -> tuple[list[Question], Output]:
    folder.mkdir()
    output = Output(folder, config.trainer, lambda *_: None)
    run(PrepareStage(config.data), Inputs(Store(folder / "store"), {}), output)
    return read_records(folder / QUESTIONS, Question), output


def own(folder: Path, *overrides: str, **files: list[dict[str, Any]]) -> Config:
    """Questions of our own form, `train=[...]` and `test=[...]`."""
    listed = []
    for split, rows in files.items():
        path = folder / f"{split}.jsonl"
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
        listed.append(f"data.files.{split}=[{path}]")
    return configure(*REAL, "data=jsonl", *listed, *overrides)


def row(number: int, stem: str, answer: str = "A", explanation: str = "") -> dict[str, Any]:
    options = {"A": f"first drug {number}", "B": f"second drug {number}", "C": f"third drug {number}"}
    return {"id": f"q{number}", "stem": stem, "options": options, "answer": answer, "explanation": explanation}


TRAIN = [row(1, "Which drug lowers a high blood pressure at night?"), row(2, "Which vaccine is given at birth?")]
TEST = [
    {**row(1, "Which drug lowers a high blood pressure at  night?"), "id": "copy"},
    {**row(1, "Which drug lowers the high blood pressure at night?"), "id": "near"},
    row(3, "Which nerve is cut in a claw hand?"),
]


def test_copies_of_train_questions_are_flagged(tmp_path: Path) -> None:
    questions, output = prepare(own(tmp_path, train=TRAIN, test=TEST), tmp_path / "out")
    report = read_json(output.folder / CONTAMINATION, dict[str, Any])
    assert [(one["heldout_id"], one["train_id"], one["is_exact"]) for one in report["overlaps"]] == [
        ("copy", "q1", True),
        ("near", "q1", False),
    ]
    assert report["overlaps"][1]["similarity"] == pytest.approx(0.8, abs=0.15)
    assert read_flagged(output.folder) == {"copy", "near"}
    assert output.facts["contamination"] == {
        "num_train": 2,
        "num_heldout": 3,
        "threshold": 0.6,
        "num_exact": 1,
        "num_near": 1,
    }
    assert "3 held-out questions: 1 exactly, 1 nearly in train" in output.facts["details"]
    assert len(questions) == 5  # flagged, not dropped


def test_too_few_questions_say_what_was_left_out(tmp_path: Path) -> None:
    sizes = "data.sizes={train: null, dev: 0, test: 3}"
    config = own(tmp_path, "data.split=seeded", sizes, test=[*TEST, row(4, "Who?", answer="F")])
    with pytest.raises(
        DataError, match=r"There are 3 questions.*Of 4 records in the files 0 were skipped and 1 rejected: "
    ):
        prepare(config, tmp_path / "out")


def test_a_copy_without_an_id_of_its_own_is_flagged_too(tmp_path: Path) -> None:
    """Ids are hashes of the content where upstream gives none: copies across files agree in them."""
    anonymous = [{name: value for name, value in one.items() if name != "id"} for one in (TRAIN[0], TRAIN[1])]
    config = own(tmp_path, train=[*anonymous, anonymous[0]], test=[anonymous[0], TEST[2]])
    questions, output = prepare(config, tmp_path / "out")
    (train_id,) = (one.id for one in questions if one.split == "train" and one.stem == TRAIN[0]["stem"])
    assert read_flagged(output.folder) == {f"{train_id}@test"}
    assert len({question.id for question in questions}) == len(questions) == 4


DRUG, VACCINE, NERVE, BONE = TRAIN[0], TRAIN[1], TEST[2], row(4, "Which bone breaks in a fall on the hand?")


def test_ids_that_begin_anew_in_every_file_are_named_apart(tmp_path: Path) -> None:
    train, dev, test = (
        [{**one, "id": str(id)} for id, one in enumerate(rows)] for rows in ([DRUG, BONE], [VACCINE], [NERVE])
    )
    questions, output = prepare(own(tmp_path, train=train, dev=dev, test=test), tmp_path / "out")
    stems = {question.id: question.stem for question in questions}
    assert stems == {"0": DRUG["stem"], "1": BONE["stem"], "0@dev": VACCINE["stem"], "0@test": NERVE["stem"]}
    assert output.facts["ids_named_apart"] == 2
    said = "2 ids of dev and test files are in other splits, too: their split was added, as in '0@dev'"
    assert said in output.facts["details"]


def test_copies_and_other_questions_under_one_id_are_flagged_by_their_own_names(tmp_path: Path) -> None:
    files = {"train": [DRUG], "dev": [{**NERVE, "id": "q1"}], "test": [{**DRUG, "answer": "B"}]}
    questions, output = prepare(own(tmp_path, **files), tmp_path / "out")
    assert sorted(question.id for question in questions) == ["q1", "q1@dev", "q1@test"]
    assert read_flagged(output.folder) == {"q1@test"}


def test_a_seeded_split_names_them_apart_by_where_they_are_listed(tmp_path: Path) -> None:
    again = [{**VACCINE, "id": "q1"}, {**NERVE, "id": "q2"}]
    config = own(
        tmp_path, "data.split=seeded", "data.sizes={train: null, dev: 0, test: 1}", train=TRAIN[:1], test=again
    )
    questions, output = prepare(config, tmp_path / "out")
    assert {question.id: question.stem for question in questions} == {
        "q1": DRUG["stem"],
        "q1@test": VACCINE["stem"],
        "q2": NERVE["stem"],
    }
    assert output.facts["ids_named_apart"] == 1


@pytest.mark.parametrize("others", [[BONE], [{**BONE, "id": "q1"}]])
def test_one_id_for_two_questions_of_a_split_is_an_error(tmp_path: Path, others: list[dict[str, Any]]) -> None:
    """Two files of one split; inside a file the second of them is rejected."""
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({**VACCINE, "id": "q1"}), encoding="utf-8")
    config = own(tmp_path, train=[DRUG], test=[NERVE, *others])
    config.data.files.train.append(str(more))
    with pytest.raises(DataError, match="Two questions have the id 'q1'"):
        prepare(config, tmp_path / "out")


def test_the_search_can_be_narrowed_and_switched_off(tmp_path: Path) -> None:
    _, narrow = prepare(own(tmp_path, "data.contamination=1.0", train=TRAIN, test=TEST), tmp_path / "narrow")
    assert read_flagged(narrow.folder) == {"copy"}
    _, off = prepare(own(tmp_path, "data.contamination=null", train=TRAIN, test=TEST), tmp_path / "off")
    assert read_flagged(off.folder) is None
    assert not (off.folder / CONTAMINATION).exists()
    assert "contamination" not in off.facts


def test_the_load_report_is_shown_and_kept(tmp_path: Path) -> None:
    bad = [*TRAIN, row(4, "No answer?", ""), row(5, "Wrong letter?", "F"), row(6, "\u200bHidden?")]
    _, output = prepare(own(tmp_path, train=bad, test=TEST), tmp_path / "out")
    train, test = output.facts["load_reports"]
    assert (train["read"], train["accepted"], test["accepted"]) == (5, 3, 3)
    shown = output.facts["details"]
    assert shown[0].endswith("train.jsonl: 5 records read, 3 accepted, 1 skipped, 1 rejected")
    assert [line.split() for line in shown[1:4]] == [
        ["normalised", "1", "control", "or", "zero-width", "characters"],
        ["skipped", "1", "no", "answer"],
        [
            "rejected",
            "record",
            "4:",
            "answer",
            "is",
            "not",
            "among",
            "the",
            "options:",
            "answer",
            "F,",
            "options",
            "ABC",
        ],
    ]


def test_shuffling_moves_letters_and_nothing_else(tmp_path: Path) -> None:
    train = [row(n, f"Which of the {n} drugs?", "ABC"[n % 3], f"（{'ABC'[n % 3]}对）") for n in range(10, 40)]
    plain, _ = prepare(own(tmp_path, train=train, test=TEST), tmp_path / "plain")
    shuffled, _ = prepare(own(tmp_path, "data.shuffle_options=true", train=train, test=TEST), tmp_path / "shuffled")
    again, _ = prepare(own(tmp_path, "data.shuffle_options=true", train=train, test=TEST), tmp_path / "again")
    assert shuffled == again
    assert [one.id for one in shuffled] == [one.id for one in plain]
    for before, after in zip(plain, shuffled, strict=True):
        assert question_key(after) == question_key(before)
        assert after.answer_texts == before.answer_texts
        assert after.split == before.split
        assert after.explanation == before.explanation.replace(before.answer, after.answer)
    assert sum(before.answer != after.answer for before, after in zip(plain, shuffled, strict=True)) > 5
    other, _ = prepare(
        own(tmp_path, "data.shuffle_options=true", "data.seed=9", train=train, test=TEST), tmp_path / "9"
    )
    assert [one.answer for one in other if one.split == "train"] != [
        one.answer for one in shuffled if one.split == "train"
    ]


def test_a_copy_in_train_is_shuffled_like_its_twin(tmp_path: Path) -> None:
    twins = [{**TRAIN[1], "id": "twin"}]
    questions, _ = prepare(own(tmp_path, "data.shuffle_options=true", train=TRAIN, test=twins), tmp_path / "out")
    one, other = (question for question in questions if question.stem == TRAIN[1]["stem"])
    assert (one.options, one.answer) == (other.options, other.answer)


@pytest.mark.parametrize(
    ("name", "overrides", "counts"),
    [
        ("pubmedqa", [], {"test": 500, "dev": 50, "train": 300}),
        ("mmlu", [], {"test": 500, "dev": 100}),
        ("mmlu_pro", [], {"test": 300, "dev": 70, "train": 354}),
        ("huatuo", [], {"test": 40, "dev": 20, "train": 100}),
        ("medmcqa", ["data.files.train=[{0}/medagents_benchmark/medmcqa/test.jsonl]"], None),
        ("medqa", ["data.split=seeded", "data.files.train=[]", "data.files.dev=[]", "data.sizes.dev=50"], {"dev": 50}),
        (
            "cmexam",
            ["data.split=seeded", "data.files={{train:[{0}/cmexam/val_part.csv],dev:[],test:[]}}", "data.sizes.dev=50"],
            {"dev": 50, "test": 100},
        ),
    ],
)
def test_every_data_set_that_ships_is_prepared(
    shared_data: Path, tmp_path: Path, name: str, overrides: list[str], counts: dict[str, int] | None
) -> None:
    if name == "medmcqa":  # its train file is not among the material; the benchmark's copy has another form
        overrides = ["data.split=seeded", "data.files.train=[]", "data.sizes.dev=100", "data.sizes.test=100"]
        counts = {"test": 100, "dev": 100, "train": 1912}
    if name in ("medqa", "cmexam"):
        overrides = [*overrides, "data.sizes.test=100"]
    given = [override.format(shared_data) for override in overrides]
    config = configure(*REAL, f"data={name}", f"paths.data={shared_data}", *given)
    questions, output = prepare(config, tmp_path / "out")
    found = Counter(question.split for question in questions)
    assert all(found[split] == count for split, count in (counts or {}).items())
    assert sum(report["accepted"] for report in output.facts["load_reports"]) >= len(questions)
    assert found["train"] > 90


def test_pubmedqa_test_is_the_official_list(shared_data: Path, tmp_path: Path) -> None:
    questions, output = prepare(configure(*REAL, "data=pubmedqa", f"paths.data={shared_data}"), tmp_path / "out")
    official = read_json(shared_data / "pubmedqa/test_ground_truth.json", dict[str, str])
    test = {question.id.removeprefix("pubmedqa-"): question for question in questions if question.split == "test"}
    assert test.keys() == official.keys()
    assert all(question.answer_texts == (official[pmid],) for pmid, question in test.items())
    assert output.facts["test_ids_without_question"] == []
