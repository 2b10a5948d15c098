"""Scoring a checkpoint: a judge over HTTP beside the rule, explanations, and what is refused before anything is asked."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from scored import Scoring, Student

from chat_server import ChatServer, text_of
from configurations import REAL, configure
from medcritical.errors import DataError
from medcritical.records import Judged, Question
from medcritical.stages import answer


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


def says(replies: Mapping[str, str]) -> Student:
    """Answers by the case that a prompt is about."""
    return Student(lambda user: next(text for case, text in replies.items() if case in user))


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


def test_a_judge_decides_and_agrees_or_not_with_the_rule(score: Scoring) -> None:
    replies = {"Case 1": in_form("B"), "Case 2": in_form("A"), "Case 3": in_form("B"), "Case 4": "Who can say?"}
    replies |= {"Case 5": in_form("C"), "Case 6": ""}
    decisions = {"Case 1": "1", "Case 2": "2", "Case 3": "2", "Case 4": "<think>hm</think>2", "Case 5": "either"}
    with ChatServer() as server:
        server.write = decides(decisions)
        questions = [question(number) for number in range(1, 7)]
        found, attempts, _, output, (answered,), _ = score(
            configure(*REAL, *judged_at(server)), questions, says(replies)
        )
    assert [attempt.outcome for attempt in attempts] == ["right", "wrong", "wrong", "unparsed", "undecided", "unparsed"]
    assert (found.num_questions, found.num_correct, found.num_unparsed, found.num_undecided) == (6, 1, 2, 1)
    assert found.agreement is not None
    assert found.agreement.right == Judged(right=1, wrong=1, undecided=0)
    assert found.agreement.wrong == Judged(right=0, wrong=1, undecided=1)
    assert found.agreement.unparsed == Judged(right=0, wrong=1, undecided=0)
    assert found.agreement.kappa == pytest.approx((3 / 4 - 1 / 2) / (1 - 1 / 2))  # rule: 2 of 4 right, judge: 1 of 4
    assert {part.value: part.num_questions for part in found.slices} == {"medicine": 4, "surgery": 2}
    read, written = output.costs(1.0), answered.costs(1.0)
    assert (read.judge_tokens, read.judge_prompt_tokens) == (5 * 3, 5 * 50)  # the blank reply was not sent
    assert (written.student_tokens, written.student_prompt_tokens) == (6 * 2, 6 * 4)
    assert (read.student_tokens, written.judge_tokens) == (0, 0)
    assert answered.facts["shown"] == ["6 answers, 12 tokens"]
    (shown,) = output.facts["shown"]
    assert "2 unparsed, 1 undecided" in shown
    assert "chance 33.3%, commonest letter 100.0%" in shown


def test_what_the_judge_fails_on_leaves_the_denominator_where_the_published_flaw_is_wanted(score: Scoring) -> None:
    """One right, one wrong, two that the judge gives no decision on: 1 of 4, or 1 of 2."""
    replies = {f"Case {number}": in_form("B") for number in range(1, 5)}
    decisions = {"Case 1": "1", "Case 2": "2", "Case 3": "either", "Case 4": "<think>cut"}
    questions = [question(number) for number in range(1, 5)]
    flaw = "evaluation.count_undecided=false"
    with ChatServer() as server:
        server.write = decides(decisions)
        mended, attempts, _, output, *_ = score(configure(*REAL, *judged_at(server)), questions, says(replies))
        assert (mended.num_questions, mended.accuracy, len(attempts)) == (4, 0.25, 4)
        assert output.facts["alarms"] == []
    with ChatServer() as server:
        server.write = decides(decisions)
        flawed, attempts, _, output, *_ = score(configure(*REAL, *judged_at(server), flaw), questions, says(replies))
        assert (flawed.num_questions, flawed.accuracy) == (2, 0.5)
        assert [attempt.question.id for attempt in attempts] == ["q1", "q2"]
        assert output.facts["alarms"] == ["2 of 4 questions are in no number: the judge left them undecided."]
        server.write = decides({"Case": "either"})
        with pytest.raises(DataError, match="the judge decided on no answer"):
            score(configure(*REAL, *judged_at(server), flaw), questions[2:], says(replies))


def test_a_student_is_asked_without_its_chat_template_where_that_flaw_is_wanted(score: Scoring) -> None:
    for override, is_bare in (("evaluation.chat_template=true", False), ("evaluation.chat_template=false", True)):
        student = says({"Case": in_form("B")})
        score(configure(*REAL, override, "evaluation.permutations=2"), [question(1)], student)
        assert [prompt.is_bare for prompt in student.asked] == [is_bare] * 2, "in other orders of the options too"


def test_the_exact_rule_asks_nobody(score: Scoring) -> None:
    questions = [question(1), question(2, answer="A")]
    found, attempts, _, output, *_ = score(configure(*REAL), questions, says({"Case": in_form("B")}))
    assert (found.num_correct, found.agreement) == (1, None)
    assert {attempt.judgement for attempt in attempts} == {None}
    assert output.costs(1.0).judge_tokens == 0


def test_explanations_are_compared_where_the_data_set_has_one(score: Scoring) -> None:
    pytest.importorskip("rouge_score", reason="install medcritical[explanation]")
    pytest.importorskip("sacrebleu", reason="install medcritical[explanation]")
    questions = [question(1, "肝素抗凝"), question(2, "it dissolves the clot"), question(3)]
    replies = {"Case 1": in_form("B", "肝素 抗凝"), "Case 2": "no form: nothing", "Case 3": in_form("B", "x")}
    found = score(configure(*REAL, "evaluation.explanation=true"), questions, says(replies)).score
    assert found.explanation is not None
    assert found.explanation.num_questions == 2
    assert found.explanation.rouge_l == pytest.approx((1 + 0) / 2)


def test_a_data_set_without_explanations_is_refused_before_anything_is_generated(score: Scoring) -> None:
    pytest.importorskip("rouge_score", reason="install medcritical[explanation]")
    student = says({"Case": in_form("B")})
    with pytest.raises(DataError, match="no question has one"):
        score(configure(*REAL, "evaluation.explanation=true"), [question(1)], student)
    assert student.asked == []


def test_explanations_of_answers_that_exist_already(score: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are another artefact than their score: what `answer` refuses may be there from before."""
    for package in ("rouge_score", "sacrebleu"):
        pytest.importorskip(package, reason="install medcritical[explanation]")
    monkeypatch.setattr(answer, "require_explained", lambda questions: None)
    with pytest.raises(DataError, match="no question has one"):
        score(configure(*REAL, "evaluation.explanation=true"), [question(1)], says({"Case": in_form("B")}))


def test_a_judge_that_decides_on_no_explained_question_leaves_nothing_to_compare(score: Scoring) -> None:
    for package in ("rouge_score", "sacrebleu"):
        pytest.importorskip(package, reason="install medcritical[explanation]")
    chosen = ("evaluation.explanation=true", "evaluation.count_undecided=false")
    with ChatServer() as server:
        server.write = decides({"Case 1": "either", "Case 2": "1"})
        questions = [question(1, "it dissolves the clot"), question(2)]
        with pytest.raises(DataError, match="no question has one"):
            score(configure(*REAL, *judged_at(server), *chosen), questions, says({"Case": in_form("B")}))
