"""Asking in several orders: what is asked, what is kept, and what consistency comes out."""

from collections.abc import Sequence

import pytest
from scored import Scored, Scoring, Student

from configurations import REAL, configure
from medcritical.config.stages import AnswerStage
from medcritical.pipeline.plan import make_plan
from medcritical.records import Question
from medcritical.text.permutation import permute_options
from medcritical.text.prompts import attempt_prompt

CONFIG = configure(*REAL, "evaluation.permutations=4")
OWN = "ABCD"


def make(number: int) -> Question:
    options = {"A": f"aspirin {number}", "B": f"heparin {number}", "C": f"insulin {number}", "D": f"codeine {number}"}
    return Question(
        id=f"q{number}", stem=f"Which {number}?", options=options, answer="C", language="en", split="test", source="t"
    )


def fixed(number: int) -> Question:
    """A question whose options may not change places."""
    options = {"A": f"insulin {number}", "B": "None of the above"}
    return Question(
        id=f"q{number}", stem=f"Which {number}?", options=options, answer="A", language="en", split="test", source="t"
    )


def letter_of(user: str, text: str) -> str:
    """The letter under which the prompt shows an option."""
    return next(line[0] for line in user.splitlines() if line[1:].startswith(f". {text}"))


def finds(text: str) -> Student:
    """Answers with the letter of an option, wherever it stands."""
    return Student(lambda user: f"<answer>{letter_of(user, text)}</answer>")


def shares(found: Scored) -> tuple[float | None, float | None]:
    return found.score.permuted_accuracy, found.score.consistency


def test_one_who_knows_is_right_in_every_order(score: Scoring) -> None:
    found = score(CONFIG, [make(1), make(2)], finds("insulin"))
    assert shares(found) == (1.0, 1.0)
    assert found.score.permutations == 4
    assert [item.letters for item in found.permuted] == [("C",) * 4] * 2
    assert len({order for item in found.permuted for order in item.orders}) > 4  # each question has orders of its own
    ((sampling, samples, seed),) = found.student.ways
    assert (sampling.temperature, samples, seed) == (0, 1, 0)


def test_one_who_always_says_a_is_found_out(score: Scoring) -> None:
    found = score(CONFIG, [make(1)], Student(lambda _: "<answer>A</answer>"))
    (item,) = found.permuted
    # "A" means another option in every order: what comes back is the first letter of the order.
    assert item.letters == tuple(order[0] for order in item.orders)
    assert shares(found) == (sum(order[0] == "C" for order in item.orders) / 4, 0.0)


def test_the_own_order_is_not_asked_again_and_the_others_are_what_they_say(score: Scoring) -> None:
    def reply(user: str) -> str:
        is_own = [letter_of(user, text) for text in ("aspirin", "heparin", "insulin", "codeine")] == list(OWN)
        return "Who can say?" if is_own and "Which 2?" in user else f"<answer>{letter_of(user, 'heparin')}</answer>"

    questions = [make(1), make(2)]
    found = score(CONFIG, questions, Student(reply))
    assert [item.letters for item in found.permuted] == [("B",) * 4, (None, "B", "B", "B")]
    assert shares(found) == (0.0, 0.5)  # what could not be read once is not consistent
    assert [item.orders[0] for item in found.permuted] == [OWN, OWN]
    assert all(len(set(item.orders)) == 4 for item in found.permuted)
    expected = [attempt_prompt(CONFIG.template, question) for question in questions]
    expected += [
        attempt_prompt(CONFIG.template, permute_options(question, order))
        for question, item in zip(questions, found.permuted, strict=True)
        for order in item.orders[1:]
    ]
    assert found.student.asked == expected
    own, others = (output.costs(1.0) for output in found.answered)
    assert (own.student_tokens, others.student_tokens) == (2 * 2, 6 * 2)


def test_answers_of_several_letters_come_back_sorted(score: Scoring) -> None:
    def both(user: str) -> str:
        return f"<answer>{''.join(sorted(letter_of(user, text) for text in ('insulin', 'aspirin')))}</answer>"

    found = score(CONFIG, [make(1)], Student(both))
    assert found.score.consistency == 1.0
    assert set(found.permuted[0].letters) == {"AC"}


@pytest.mark.parametrize("questions", [[fixed(1)], [fixed(1), make(2)], [make(2), fixed(1)]])
def test_a_question_with_one_possible_order_is_asked_in_it_alone(score: Scoring, questions: Sequence[Question]) -> None:
    found = score(CONFIG, questions, finds("insulin"))
    by_id = {item.question_id: item for item in found.permuted}
    assert (by_id["q1"].orders, by_id["q1"].letters) == (("AB",), ("A",))
    assert found.score.permutations == (4 if len(questions) == 2 else 1)
    assert len(found.student.asked) == (5 if len(questions) == 2 else 1)
    assert shares(found) == (1.0, 1.0)


def test_orders_are_drawn_with_the_questions() -> None:
    def seeds(*overrides: str) -> set[int]:
        calls = make_plan(configure(*REAL, *overrides), {}).calls
        return {call.config.order_seed for call in calls if isinstance(call.config, AnswerStage)}

    assert seeds("data.seed=1") == {0}  # nothing is drawn
    drawn = seeds("evaluation.permutations=4", "data.seed=1")
    assert len(drawn - {0}) == 1  # every checkpoint is asked in the same orders
    assert drawn == seeds("evaluation.permutations=4", "data.seed=1", "seed=7")
    assert drawn != seeds("evaluation.permutations=4", "data.seed=2")


@pytest.mark.parametrize("override", ["evaluation.permutations=0", "evaluation.permutations=25"])
def test_a_senseless_number_of_orders_is_refused(override: str) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.permutations"):
        configure(*REAL, override)
