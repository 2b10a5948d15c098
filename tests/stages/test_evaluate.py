"""Scoring a checkpoint: a judge over HTTP beside the rule, explanations, and what is refused before anything is asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chat_server import ChatServer, text_of
from configurations import REAL, configure
from medcritical.config.stages import AnswerStage
from medcritical.errors import DataError
from medcritical.generation.engine import Sampling, Usage
from medcritical.pipeline.plan import make_plan
from medcritical.records import Attempt, Completion, Judged, Prompt, Question, Score
from medcritical.stages import evaluate
from medcritical.stages.context import Inputs, Output
from medcritical.stages.prepare import QUESTIONS
from medcritical.stages.results import PREDICTIONS, SCORE
from medcritical.store import ArtefactRef, Costs, Store, read_json, read_records, write_records

QUESTION_FILE, CHECKPOINT = ArtefactRef(stage="prepare", key="0" * 64), ArtefactRef(stage="sft", key="1" * 64)


class Student:
    """Answers by the case that a prompt is about; four tokens read, two written."""

    def __init__(self, replies: Mapping[str, str]) -> None:
        self.replies, self.usage, self.asked = replies, Usage(), list[Prompt]()

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Completion]]:
        self.asked += prompts
        texts = [next(text for case, text in self.replies.items() if case in prompt.user) for prompt in prompts]
        self.usage.prompt_tokens += 4 * len(texts)
        self.usage.completion_tokens += 2 * len(texts)
        return [[Completion(text=text, prompt_tokens=4, completion_tokens=2, is_finished=True)] for text in texts]


def question(number: int, explanation: str = "", answer: str = "B") -> Question:
    return Question(
        id=f"q{number}",
        stem=f"Case {number}: which drug?",
        options={"A": "aspirin", "B": "heparin", "C": "insulin"},
        answer=answer,
        language="zh" if explanation and not explanation.isascii() else "en",
        split="test",
        source="test",
        explanation=explanation,
        meta={"department": "surgery" if number < 3 else "medicine"},
    )


def in_form(letter: str, chain: str = "because") -> str:
    return f"<think>{chain}</think>\n<answer>{letter}</answer>"


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Score, list[Attempt], Output]]:
    """Run the stage on questions with a student's replies and overrides; what it wrote and what it told."""

    def run(
        questions: Sequence[Question], replies: Mapping[str, str], *overrides: str, asked: list[Prompt] | None = None
    ) -> tuple[Score, list[Attempt], Output]:
        student = Student(replies)
        student.asked = [] if asked is None else asked

        @contextmanager
        def engine(*_: object) -> Iterator[Student]:
            yield student

        monkeypatch.setattr(evaluate, "student_engine", engine)
        of = configure(*REAL, *overrides)
        stage = next(call.config for call in make_plan(of, {}).calls if isinstance(call.config, AnswerStage))
        store = Store(tmp_path / "store")
        with store.build(QUESTION_FILE) as folder:
            write_records(folder / QUESTIONS, questions)
            store.complete(QUESTION_FILE, version=1, config={}, inputs={}, facts={}, costs=Costs())
        output = Output(tmp_path / "out", of.trainer, lambda *_: None)
        inputs = Inputs(store, {"questions": QUESTION_FILE, "checkpoint": CHECKPOINT})
        evaluate.run(stage, inputs, output)
        attempts = read_records(output.folder / PREDICTIONS, Attempt)
        return read_json(output.folder / SCORE, Score), attempts, output

    return run


def decides(decisions: Mapping[str, str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A judge's server: its decision by the case it is asked about."""

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        text = next(text for case, text in decisions.items() if case in text_of(request))
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 3}}

    return reply


def judged_at(server: ChatServer) -> list[str]:
    engine = "verifier.judge.engine"
    return ["verifier=judge", f"engine@{engine}=server", f"{engine}.url={server.url}", f"{engine}.model=judge/7b"]


def test_a_judge_decides_and_agrees_or_not_with_the_rule(score) -> None:
    replies = {"Case 1": in_form("B"), "Case 2": in_form("A"), "Case 3": in_form("B"), "Case 4": "Who can say?"}
    replies |= {"Case 5": in_form("C"), "Case 6": ""}
    decisions = {"Case 1": "1", "Case 2": "2", "Case 3": "2", "Case 4": "<think>hm</think>2", "Case 5": "either"}
    with ChatServer() as server:
        server.write = decides(decisions)
        found, attempts, output = score([question(number) for number in range(1, 7)], replies, *judged_at(server))
    assert [attempt.outcome for attempt in attempts] == ["right", "wrong", "wrong", "unparsed", "undecided", "unparsed"]
    assert (found.num_questions, found.num_correct, found.num_unparsed, found.num_undecided) == (6, 1, 2, 1)
    assert found.verifier == "judge/7b"
    assert found.agreement is not None
    assert found.agreement.right == Judged(right=1, wrong=1, undecided=0)
    assert found.agreement.wrong == Judged(right=0, wrong=1, undecided=1)
    assert found.agreement.unparsed == Judged(right=0, wrong=1, undecided=0)
    assert found.agreement.kappa == pytest.approx((3 / 4 - 1 / 2) / (1 - 1 / 2))  # rule: 2 of 4 right, judge: 1 of 4
    assert {part.value: part.num_questions for part in found.slices} == {"medicine": 4, "surgery": 2}
    costs = output.costs(1.0)
    assert (costs.judge_tokens, costs.judge_prompt_tokens) == (5 * 3, 5 * 50)  # the blank reply was not sent
    assert (costs.student_tokens, costs.student_prompt_tokens) == (6 * 2, 6 * 4)
    (shown,) = output.facts["shown"]
    assert "2 unparsed, 1 undecided" in shown
    assert "chance 33.3%, commonest letter 100.0%" in shown


def test_what_the_judge_fails_on_leaves_the_denominator_where_the_published_flaw_is_wanted(score) -> None:
    """One right, one wrong, two that the judge gives no decision on: 1 of 4, or 1 of 2."""
    replies = {f"Case {number}": in_form("B") for number in range(1, 5)}
    decisions = {"Case 1": "1", "Case 2": "2", "Case 3": "either", "Case 4": "<think>cut"}
    questions = [question(number) for number in range(1, 5)]
    with ChatServer() as server:
        server.write = decides(decisions)
        mended, attempts, output = score(questions, replies, *judged_at(server))
        assert (mended.num_questions, mended.accuracy, len(attempts)) == (4, 0.25, 4)
        assert output.facts["alarms"] == []
    with ChatServer() as server:
        server.write = decides(decisions)
        flawed, attempts, output = score(questions, replies, *judged_at(server), "evaluation.count_undecided=false")
        assert (flawed.num_questions, flawed.accuracy) == (2, 0.5)
        assert [attempt.question.id for attempt in attempts] == ["q1", "q2"]
        assert output.facts["alarms"] == ["2 of 4 questions are in no number: the judge left them undecided."]
        server.write = decides({"Case": "either"})
        with pytest.raises(DataError, match="the judge decided on no answer"):
            score(questions[2:], replies, *judged_at(server), "evaluation.count_undecided=false")


def test_a_student_is_asked_without_its_chat_template_where_that_flaw_is_wanted(score) -> None:
    for override, is_bare in (("evaluation.chat_template=true", False), ("evaluation.chat_template=false", True)):
        asked: list[Prompt] = []
        score([question(1)], {"Case": in_form("B")}, override, "evaluation.permutations=2", asked=asked)
        assert [prompt.is_bare for prompt in asked] == [is_bare] * 2, "in other orders of the options too"


def test_the_exact_rule_asks_nobody(score) -> None:
    found, attempts, output = score([question(1), question(2, answer="A")], {"Case": in_form("B")})
    assert (found.num_correct, found.verifier, found.agreement) == (1, "exact", None)
    assert {attempt.judgement for attempt in attempts} == {None}
    assert output.costs(1.0).judge_tokens == 0


def test_explanations_are_compared_where_the_data_set_has_one(score) -> None:
    pytest.importorskip("rouge_score", reason="install medcritical[explanation]")
    pytest.importorskip("sacrebleu", reason="install medcritical[explanation]")
    questions = [question(1, "肝素抗凝"), question(2, "it dissolves the clot"), question(3)]
    replies = {"Case 1": in_form("B", "肝素 抗凝"), "Case 2": "no form: nothing", "Case 3": in_form("B", "x")}
    found, _, _ = score(questions, replies, "evaluation.explanation=true")
    assert found.explanation is not None
    assert found.explanation.num_questions == 2
    assert found.explanation.rouge_l == pytest.approx((1 + 0) / 2)


def test_a_data_set_without_explanations_is_refused_before_anything_is_generated(score) -> None:
    pytest.importorskip("rouge_score", reason="install medcritical[explanation]")
    with pytest.raises(DataError, match="no question has one"):
        score([question(1)], {}, "evaluation.explanation=true")  # a student without replies would raise StopIteration
