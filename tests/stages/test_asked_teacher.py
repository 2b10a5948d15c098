"""A teacher that is asked, over HTTP: what is kept, what is rejected and why, what it cost, and what a second run asks."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from chat_server import ChatServer, text_of
from configurations import ASKED, configure
from medcritical.config.schema import Config
from medcritical.config.stages import TeachStage
from medcritical.errors import DataError
from medcritical.pipeline.plan import make_plan
from medcritical.pipeline.slices import Slices
from medcritical.records import Attempt, Question, TaughtCorrection, ThoughtTemplate
from medcritical.stages.context import Inputs, Output
from medcritical.stages.prepare import QUESTIONS
from medcritical.stages.teach import CORRECTIONS, REJECTED, TEMPLATES, run
from medcritical.store import ArtefactRef, Costs, Store, read_records, write_records

QUESTION_FILE, ATTEMPT_FILE = ArtefactRef(stage="prepare", key="0" * 64), ArtefactRef(stage="play", key="1" * 64)


def question(number: int, split: Any = "train") -> Question:
    return Question(
        id=f"q{number}",
        stem=f"Case {number}: which drug?",
        options={"A": "aspirin", "B": "heparin"},
        answer="B",
        language="en",
        split=split,
        source="test",
    )


def attempt(number: int, text: str, letters: str) -> Attempt:
    return Attempt(
        question=question(number),
        text=text,
        letters=letters,
        rule="tag",
        is_correct=letters == "B",
        is_well_formed=True,
        is_sound=None,
        prompt_tokens=1,
        completion_tokens=1,
        round=0,
    )


def write(answer: str, insight: str = "") -> str:
    error = f"<error>{insight}</error>\n" if insight else ""
    outline, chain = "1. look\n2. decide", "1. there is a clot in the leg\n2. so it must be dissolved"
    return f"{error}<outline>{outline}</outline>\n<think>{chain}</think>\n<answer>{answer}</answer>"


def says(texts: dict[str, list[str]]) -> Any:
    """A server's replies: for each question (by "Case N") its texts in turn, the last one again and again."""
    asked: dict[str, int] = {}

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        name = next(name for name in texts if name in text_of(request))
        place = asked[name] = asked.get(name, -1) + 1
        text = texts[name][min(place, len(texts[name]) - 1)]
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 40}}

    return reply


def config(server: ChatServer, *overrides: str) -> Config:
    fast = ("teacher.engine.backoff=0.01", "teacher.engine.retries=2")
    return configure(*ASKED, f"teacher.engine.url={server.url}", *fast, "sft.templates=3", *overrides)


def stages(of: Config) -> tuple[TeachStage, TeachStage]:
    """The calls of `teach` as the plan makes them: for templates, for corrections."""
    calls = [call.config for call in make_plan(of, {}).calls if isinstance(call.config, TeachStage)]
    (templates,) = calls
    return templates, dataclasses.replace(Slices(of).teach(None, "correct"), max_wrong=2)


def inputs(folder: Path) -> Inputs:
    store = Store(folder / "store")
    for ref, name, records in (
        (QUESTION_FILE, QUESTIONS, [question(1), question(2), question(3), question(9, "test")]),
        (
            ATTEMPT_FILE,
            "attempts.jsonl",
            [attempt(1, "I say A", "A"), attempt(2, "I say B", "B"), attempt(3, "A!", "A")],
        ),
    ):
        if not store.is_complete(ref):
            with store.build(ref) as built:
                write_records(built / name, records)
                store.complete(ref, version=1, config={}, inputs={}, facts={}, costs=Costs())
    return Inputs(store, {"questions": QUESTION_FILE})


def teach(of: Config, folder: Path, name: str = "out") -> Output:
    output = Output(folder / name, of.trainer, lambda *_: None)
    run(stages(of)[0], inputs(folder), output)
    return output


TEXTS = {
    "Case 1": [write("B")],
    "Case 2": [write("A"), "no idea", write("heparin")],
    "Case 3": [write("A")],
}


def test_what_is_kept_and_what_is_rejected(tmp_path: Path) -> None:
    with ChatServer() as server:
        server.write = says(TEXTS)
        output = teach(config(server), tmp_path)
    found = [(item.question.id, item.rejections) for item in read_records(output.folder / TEMPLATES, ThoughtTemplate)]
    assert found == [
        ("q1", ()),
        ("q2", ("answers otherwise",)),
        ("q2", ("not in the template's form",)),
        ("q2", ()),
        *[("q3", ("answers otherwise",))] * 3,
    ]
    assert output.facts["rejected"] == {"answers otherwise": 4, "not in the template's form": 1}
    assert (output.facts["templates"], output.facts["questions"], output.facts["gold_shown"]) == (2, 3, False)
    assert [item.id for item in read_records(output.folder / QUESTIONS, Question)] == ["q1", "q2"]
    assert (output.teacher_prompt_tokens, output.teacher_tokens) == (7 * 100, 7 * 40)
    assert output.facts["usage"]["answers"] == 7
    assert "Case 9" not in "".join(text_of(request) for request in server.requests), "held-out questions stay at home"


def test_a_second_run_asks_nothing_and_counts_the_same(tmp_path: Path) -> None:
    with ChatServer() as server:
        server.write = says(TEXTS)
        first = teach(config(server), tmp_path)
        num_requests = len(server.requests)
        again = teach(config(server), tmp_path, "again")
        stricter = teach(config(server, "teacher.min_characters=30"), tmp_path, "stricter")
        assert len(server.requests) == num_requests == 7
    assert (again.folder / TEMPLATES).read_bytes() == (first.folder / TEMPLATES).read_bytes()
    assert again.teacher_tokens == stricter.teacher_tokens == first.teacher_tokens
    assert again.facts["usage"]["from_disk"] == 7


def test_gold_is_in_no_prompt_unless_shown(tmp_path: Path) -> None:
    texts = {"Case": [write("B")]}
    with ChatServer() as hidden:
        hidden.write = says(texts)
        teach(config(hidden), tmp_path / "hidden")
    with ChatServer() as shown:
        shown.write = says(texts)
        output = teach(config(shown, "teacher.show_gold=true"), tmp_path / "shown")
    assert output.facts["gold_shown"] is True
    assert all("right answer is" not in text_of(request) for request in hidden.requests)
    assert all("The right answer is B." in text_of(request) for request in shown.requests)


def test_an_unchecked_teacher_asked_in_bare_text(tmp_path: Path) -> None:
    """Two published flaws: the first answer of each is taught, wrong or formless, and no turn is opened for it."""
    with ChatServer() as server:
        chat = says({"Case 1": [write("B")], "Case 2": [write("A")], "Case 3": ["no idea"]})
        server.write = lambda request: (
            (reply := chat(request)) | {"choices": [{"text": reply["choices"][0]["message"]["content"]}]}
        )
        output = teach(config(server, "teacher.checked=false", "teacher.chat_template=false"), tmp_path)
    assert set(server.paths) == {"/v1/completions"}
    taught = read_records(output.folder / TEMPLATES, ThoughtTemplate)
    assert [(item.question.id, item.letters, item.is_kept) for item in taught] == [
        ("q1", "B", True),
        ("q2", "A", True),
        ("q3", None, True),
    ]
    assert (output.facts["checked"], output.facts["rejected"]) == (False, {})


def test_no_usable_template_is_told_with_reasons(tmp_path: Path) -> None:
    with ChatServer() as server:
        server.write = says({"Case": [write("A")]})
        with pytest.raises(DataError, match=r"no usable template: \{'answers otherwise': 9\}"):
            teach(config(server), tmp_path)


def test_own_errors_are_corrected_by_the_teacher(tmp_path: Path) -> None:
    with ChatServer() as server:
        server.write = says({"Case 1": [write("B", "step 1 overlooks the clot")], "Case 3": [write("A", "none"), "?"]})
        given = inputs(tmp_path)
        output = Output(tmp_path / "out", config(server).trainer, lambda *_: None)
        run(stages(config(server))[1], Inputs(given.store, {"attempts": ATTEMPT_FILE}), output)
    (kept,) = read_records(output.folder / CORRECTIONS, TaughtCorrection)
    assert (kept.insight, kept.attempt, kept.kind) == ("step 1 overlooks the clot", "I say A", "own")
    assert kept.template.outline == ("1. look", "2. decide")
    rejected = read_records(output.folder / REJECTED, TaughtCorrection)
    assert [item.template.rejections for item in rejected] == [
        ("answers otherwise",),
        ("not in the template's form",),
        ("not in the template's form",),
    ]
    assert output.facts["rejected"] == {"answers otherwise": 1, "not in the template's form": 2}
    assert (output.facts["corrections"], output.teacher_tokens) == (1, 4 * 40)
    assert all("<attempt>" in text_of(request) for request in server.requests)


def test_a_recorded_explanation_that_is_short_or_foreign_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = []
    for number, chain in enumerate(
        ["long enough to be kept", "short", "患者发热三天，考虑感染，予以治疗，观察病情"], start=1
    ):
        shown = {"id": f"q{number}", "stem": f"Case {number}", "options": {"A": "a", "B": "b"}, "answer": "B"}
        rows.append(json.dumps(shown | {"chain": chain}, ensure_ascii=False))
    path.write_text("\n".join(rows), encoding="utf-8")
    recorded = configure(
        *(item for item in ASKED if "teacher" not in item),
        "teacher=recorded",
        f"teacher.files=[{path}]",
        "teacher.format=jsonl",
        "teacher.chain=chain",
        "teacher.min_characters=10",
        "template=detailed_en",
    )
    output = Output(tmp_path / "out", recorded.trainer, lambda *_: None)
    run(stages(recorded)[0], inputs(tmp_path), output)
    assert output.facts["rejected"] == {"too short": 1, "another language": 1}
    assert output.facts["templates"] == 1
    recorded.teacher.checked = False
    unchecked = Output(tmp_path / "unchecked", recorded.trainer, lambda *_: None)
    run(stages(recorded)[0], inputs(tmp_path), unchecked)
    assert (unchecked.facts["rejected"], unchecked.facts["templates"]) == ({}, 3)
