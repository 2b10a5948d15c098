"""Letters named in texts follow their options; letters of words stay."""

import re
from pathlib import Path

import pytest

from medcritical.config.choices import DataFormat, OnError
from medcritical.data.load import load_questions
from medcritical.text.lettering import rewrite_combinations, rewrite_explicit, rewrite_letters

OPTIONS = dict(zip("ABCDE", ("甘油明胶", "thyroid gland", "丙", "丁", "戊"), strict=True))
NEXT = dict(zip("ABCDE", "BCDEA", strict=True))


def rewrite(text: str) -> str:
    return rewrite_letters(text, NEXT, OPTIONS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("选项B错误", "选项C错误"),
        ("B项不对，C选项正确", "C项不对，D选项正确"),
        ("A、C两项均错误", "B、D两项均错误"),
        ("栓剂基质（C对）；可可豆脂（A错）。", "栓剂基质（D对）；可可豆脂（B错）。"),
        ("（E对ABCD错）", "（A对BCDE错）"),
        ("（ABD对，E错）", "（BCE对，A错）"),
        ("A错，为本题正确答案", "B错，为本题正确答案"),
        ("ABCD均对，故E为本题的正确答案。", "BCDE均对，故A为本题的正确答案。"),
        ("故本题选D。", "故本题选E。"),
        ("答案为ABD", "答案为BCE"),
        ("故选A而不选D（A对）", "故选B而不选E（B对）"),
        ("排除A、B，只有C", "排除B、C，只有D"),
        ("Ａ项正确", "Ｂ项正确"),
        ("基质是甘油明胶（A）。", "基质是甘油明胶（B）。"),
        ("Option A is wrong, options B and D are right.", "Option B is wrong, options C and E are right."),
        ("choices (A) and (C)", "choices (B) and (D)"),
        ("The correct answer is B because", "The correct answer is C because"),
        ("Ans. is 'c' i.e., the optic canal", "Ans. is 'd' i.e., the optic canal"),
        ("The answer is (e).", "The answer is (a)."),
        ("B is incorrect. A and D are wrong.", "C is incorrect. B and E are wrong."),
        ("It is the thyroid gland (B).", "It is the thyroid gland (C)."),
        ("A. 甘油明胶: soft\nB. thyroid gland: no", "B. 甘油明胶: soft\nC. thyroid gland: no"),
    ],
)
def test_names_of_options_follow(before: str, after: str) -> None:
    assert rewrite(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "vitamin B is wrong for hepatitis A",
        "维生素A缺乏，维生素C正确吸收",
        "B超检查，故选B超",
        "D-dimer, E. coli, B-cell and C3 are low",
        "应首选A型肉毒毒素，C项目费用",
        "抗原A对抗体B有作用，A族维生素",
        "血型A与B，37.3°C，CD4，B淋巴细胞",
        "The answer is A common one",
        "Group B is wrong; a patient with type A blood",
        "I think a is b",
        "E. coli is seen",
        "选项F不存在",  # no letter of this item
        "",
    ],
)
def test_letters_of_words_stay(text: str) -> None:
    assert rewrite(text) == text


def test_words_and_names_in_one_sentence() -> None:
    assert (
        rewrite("维生素A缺乏（A错），B超（B对），D-二聚体（D错）") == "维生素A缺乏（B错），B超（C对），D-二聚体（E错）"
    )


def test_a_stem_may_speak_of_group_a() -> None:
    assert (
        rewrite_explicit("Group A is right. A对B错. See option A.", NEXT) == "Group A is right. A对B错. See option B."
    )


@pytest.mark.parametrize(
    ("texts", "rewritten"),
    [
        (["x", "y", "z", "A＋B", "A＋B＋C"], ["x", "y", "z", "B＋C", "B＋C＋D"]),
        (
            ["x", "y", "Both A and B", "B and D are correct", "z"],
            ["x", "y", "Both B and C", "B and D are correct", "z"],
        ),
        (["A,B", "A,C", "B,C", "x", "y"], ["A,B", "A,C", "B,C", "x", "y"]),  # statements A, B, C of the stem
        (["vitamins A and D", "B6", "x", "y", "A"], ["vitamins A and D", "B6", "x", "y", "A"]),
    ],
    ids=["plus", "both", "statements", "vitamins"],
)
def test_options_that_combine_options(texts: list[str], rewritten: list[str]) -> None:
    found = rewrite_combinations(dict(zip("ABCDE", texts, strict=True)), NEXT)
    assert list(found.values()) == rewritten


def test_real_explanations_go_there_and_back(shared_data: Path) -> None:
    """Every mark （X对） follows, vitamins stay, and the way back gives the text as it was."""
    questions = load_questions(
        shared_data / "cmexam/val_part.csv",
        DataFormat.cmexam_csv,
        encoding="utf-8",
        language="zh",
        source="cmexam",
        on_error=OnError.reject,
        split="train",
    ).questions[:1500]
    back = {new: old for old, new in NEXT.items()}
    num_marks = 0
    for question in questions:
        if "".join(question.options) != "ABCDE":
            continue
        there = rewrite_letters(question.explanation, NEXT, question.options)
        assert (
            rewrite_letters(there, back, {NEXT[letter]: text for letter, text in question.options.items()})
            == question.explanation
        )
        marks = re.findall(r"（([A-E])[对错]）", question.explanation)
        assert re.findall(r"（([A-E])[对错]）", there) == [NEXT[letter] for letter in marks]
        assert re.findall(r"(?:维生素|型肝炎)[A-E]", there) == re.findall(
            r"(?:维生素|型肝炎)[A-E]", question.explanation
        )
        num_marks += len(marks)
    assert num_marks > 3000
