"""Options in another order: the same question, and the way back."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.records import Question
from medcritical.text.permutation import draw_order, draw_orders, new_letters, permute_options, restore_letters


def make(options: dict[str, str], answer: str, stem: str = "Which?", explanation: str = "") -> Question:
    return Question(
        id="q",
        stem=stem,
        options=options,
        answer=answer,
        language="en",
        split="train",
        source="s",
        explanation=explanation,
    )


PLAIN = make({"A": "aspirin", "B": "heparin", "C": "insulin"}, "B", explanation="（B对）；aspirin（A错）。Vitamin C.")


def test_an_order_by_hand() -> None:
    permuted = permute_options(PLAIN, "CAB")
    assert permuted.options == {"A": "insulin", "B": "aspirin", "C": "heparin"}
    assert (permuted.answer, permuted.answer_texts) == ("C", PLAIN.answer_texts)
    assert permuted.explanation == "（C对）；aspirin（B错）。Vitamin C."
    assert (permuted.id, permuted.stem, PLAIN.answer) == (PLAIN.id, PLAIN.stem, "B")


def test_letters_with_gaps_stay_in_place() -> None:
    """Rows without an option A exist: labels are never re-assigned, texts move among those that there are."""
    question = make({"B": "x", "C": "y", "E": "z"}, "BE")
    permuted = permute_options(question, "ECB")
    assert permuted.options == {"B": "z", "C": "y", "E": "x"}
    assert permuted.answer == "BE"
    assert permute_options(question, "CBE").answer == "CE"


def test_combinations_follow_what_they_combine() -> None:
    question = make({"A": "甲", "B": "乙", "C": "丙", "D": "A＋B"}, "D", explanation="故选D。")
    permuted = permute_options(question, "DCAB")
    assert permuted.options == {"A": "C＋D", "B": "丙", "C": "甲", "D": "乙"}
    assert (permuted.answer, permuted.explanation) == ("A", "故选A。")


@pytest.mark.parametrize("order", ["", "AB", "ABCD", "AAB", "ABX"])
def test_what_is_no_order_is_refused(order: str) -> None:
    with pytest.raises(ValueError, match="no order of the options ABC"):
        permute_options(PLAIN, order)


def test_the_way_back_of_every_order() -> None:
    question = make(dict(zip("ABCD", "wxyz", strict=True)), "AD")
    for order in map("".join, permutations("ABCD")):
        permuted = permute_options(question, order)
        assert restore_letters(permuted.answer, question, order) == "AD"
        assert restore_letters(None, question, order) is None
        for letter, text in permuted.options.items():
            assert question.options[restore_letters(letter, question, order) or ""] == text
        back = new_letters(question, order)
        assert permute_options(permuted, "".join(back[letter] for letter in "ABCD")) == question


def test_the_order_depends_on_content_and_seed_alone() -> None:
    copies = [make({"A": "a", "B": "b", "C": "c", "D": "d", "E": "e"}, "A", stem=f"Stem {n}") for n in range(40)]
    orders = [draw_order(question, 0) for question in copies]
    assert orders == [draw_order(question, 0) for question in copies]
    assert orders != [draw_order(question, 1) for question in copies]
    assert len(set(orders)) > 20
    # The right letter moves everywhere: no place has more than twice its share.
    places = [permute_options(question, order).answer for question, order in zip(copies, orders, strict=True)]
    assert all(2 <= places.count(letter) <= 16 for letter in "ABCDE")


@pytest.mark.parametrize(
    "text", ["以上都不是", "以上均正确", "None of the above", "all of the above.", "(以上都对)", "上述说法均错误"]
)
@given(seed=st.integers(0, 10_000))
def test_what_speaks_of_the_options_above_stays_there(text: str, seed: int) -> None:
    question = make({"A": "x", "B": "y", "C": text, "D": "z", "E": "w"}, "C")
    order = draw_order(question, seed)
    assert order[2] == "C"
    assert (set(order[:2]), set(order[3:])) == (set("AB"), set("DE"))


@pytest.mark.parametrize("text", ["1年以上", "以上1～2cm", "0.5ppm以上～1ppm以内", "above the knee", "All proteins"])
def test_what_merely_has_the_word_may_move(text: str) -> None:
    question = make({"A": "x", "B": "y", "C": text, "D": "z"}, "C")
    assert any(draw_order(question, seed)[2] != "C" for seed in range(20))


def test_orders_are_different_and_begin_with_the_questions_own() -> None:
    question = make(dict(zip("ABCD", "wxyz", strict=True)), "A")
    orders = draw_orders(question, 6, seed=3)
    assert orders[0] == "ABCD"
    assert len(set(orders)) == 6
    assert orders[:3] == draw_orders(question, 3, seed=3)
    assert draw_orders(question, 1, seed=3) == ["ABCD"]


def test_a_question_with_few_orders_gives_all_it_has() -> None:
    assert sorted(draw_orders(make({"A": "x", "B": "y"}, "A"), 5, seed=0)) == ["AB", "BA"]
    pinned = make({"A": "x", "B": "y", "C": "以上都对"}, "C")
    assert sorted(draw_orders(pinned, 5, seed=0)) == ["ABC", "BAC"]
    assert draw_orders(make({"A": "x", "B": "None of the above"}, "A"), 4, seed=0) == ["AB"]
