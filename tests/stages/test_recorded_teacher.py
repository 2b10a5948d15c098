"""A recorded teacher: traces become templates, and what may not be trained on is rejected with its reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from medcritical.cli.compose import check_overrides
from medcritical.config.stages import QuestionRange, TeachStage
from medcritical.errors import DataError
from medcritical.records import Question, ThoughtTemplate
from medcritical.stages.context import Inputs, Output
from medcritical.stages.prepare import QUESTIONS
from medcritical.stages.teach import TEMPLATES, run
from medcritical.store import ArtefactRef, Costs, Store, read_records, write_records

OPTIONS = {"A": "aspirin", "B": "ibuprofen", "C": "heparin"}


def trace(stem: str, response: str) -> dict[str, Any]:
    return {
        "question": stem,
        "options": OPTIONS,
        "answer_idx": "B",
        "answer": "ibuprofen",
        "Open-ended Verifiable Question": stem,
        "Ground-True Answer": "ibuprofen",
        "Question": stem,
        "Complex_CoT": f"Thinking about {stem}",
        "Response": response,
    }


TRACES = [
    trace("Which drug for a headache?", "Ibuprofen relieves it."),
    trace("Which drug is held out?", "Ibuprofen again."),
    trace("Which drug is disputed?", "The answer is C."),
    trace("Which drug was cut?", "</think><answer>A</answer> and more"),
]


def teach(
    tmp_path: Path, traces: list[dict[str, Any]], contamination: float | None = 0.6, count: int | None = None
) -> tuple[list[ThoughtTemplate], Output]:
    path = tmp_path / "traces.json"
    path.write_text(json.dumps(traces), encoding="utf-8")
    (config,) = check_overrides(
        [
            "teacher=recorded",
            f"teacher.files=[{path}]",
            "data=jsonl",
            "data.files.train=[x]",
            "data.files.test=[x]",
            "student=smollm2_135m",
            "template=detailed_en",
            "sft=pretrained",
            "dpo=pretrained",
        ]
    )
    store, ref = Store(tmp_path / "store"), ArtefactRef(stage="prepare", key="0" * 64)
    held_out = Question(
        id="t1",
        stem="Which drug is held out?",
        options=OPTIONS,
        answer="B",
        language="en",
        split="test",
        source="test",
    )
    with store.build(ref) as folder:
        write_records(folder / QUESTIONS, [held_out])
        store.complete(ref, version=1, config={}, inputs={}, facts={}, costs=Costs())
    output = Output(tmp_path / "out", config.trainer, lambda *_: None)
    stage = TeachStage(config.teacher, config.template, QuestionRange(0, count, 0), 0.0, 0, None, contamination, seed=0)
    run(stage, Inputs(store, {"questions": ref}), output)
    return read_records(output.folder / TEMPLATES, ThoughtTemplate), output


def test_held_out_and_disagreeing_traces_are_rejected_and_counted(tmp_path: Path) -> None:
    templates, output = teach(tmp_path, TRACES)
    reasons = {template.question.stem: template.rejections for template in templates}
    assert reasons == {
        "Which drug for a headache?": (),
        "Which drug is held out?": ("question is held out",),
        "Which drug is disputed?": ("trace answers otherwise",),
        "Which drug was cut?": ("trace answers otherwise",),
    }
    assert output.facts["rejected"] == {"question is held out": 1, "trace answers otherwise": 2}
    assert output.teacher_tokens == 0  # paid for before this program saw them
    kept = read_records(output.folder / QUESTIONS, Question)
    assert [question.split for question in kept] == ["train"]


def test_no_usable_trace_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no usable template: \{.question is held out.: 1\}"):
        teach(tmp_path, TRACES[1:2])


@pytest.mark.parametrize("stem", ["which Drug is held out?", "Which drug is held out", "Which drug is held out:"])
def test_a_trace_on_a_near_copy_of_a_test_question_is_rejected(tmp_path: Path, stem: str) -> None:
    traces = [TRACES[0], trace(stem, "Ibuprofen again.")]
    _, output = teach(tmp_path, traces)
    assert output.facts["rejected"] == {"question is nearly a held-out one": 1}
    assert [question.stem for question in read_records(output.folder / QUESTIONS, Question)] == [TRACES[0]["Question"]]


def test_exact_copies_alone_are_held_out_where_near_ones_are_not_looked_for(tmp_path: Path) -> None:
    traces = [TRACES[1], trace("which Drug is held out?", "Ibuprofen again.")]
    templates, output = teach(tmp_path, traces, contamination=None)
    assert output.facts["rejected"] == {"question is held out": 1}
    assert [template.question.stem for template in templates if template.is_kept] == ["which Drug is held out?"]


def test_held_out_traces_take_no_place_among_the_templates_asked_for(tmp_path: Path) -> None:
    stems = ["Where does the spleen lie?", "How is gout treated?", "What causes scurvy?"]
    near = [trace(f"{TRACES[1]['Question']}{mark}", "Ibuprofen.") for mark in ("", " ?", "!", "?!")]
    templates, output = teach(tmp_path, [*near, *(trace(stem, "Ibuprofen.") for stem in stems)], count=2)
    assert output.facts["templates"] == 2
    assert [template.is_kept for template in templates] == [True] * 2 + [False] * 4
    assert output.facts["rejected"] == {"question is held out": 1, "question is nearly a held-out one": 3}
