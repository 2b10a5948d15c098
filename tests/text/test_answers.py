"""What is read as an answer: labelled raw outputs, our own held-out wordings, invariants, and time."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcritical.text import Extraction, extract_answer
from medcritical.text.extraction.turns import HEAD_CHARACTERS, TAIL_CHARACTERS


def lettered(texts: list[str]) -> dict[str, str]:
    return {chr(ord("A") + place): text for place, text in enumerate(texts)}


OPTIONS = {
    "micro": {
        "A": "Staphylococcus aureus",
        "B": "Streptococcus pneumoniae",
        "C": "Escherichia coli",
        "D": "Listeria monocytogenes",
        "E": "Group B streptococcus",
    },
    "vitamin": {"A": "Vitamin A", "B": "Vitamin B12", "C": "Vitamin C", "D": "Vitamin D", "E": "Vitamin K"},
    "test": {"A": "Echocardiography", "B": "D-dimer", "C": "CT angiography", "D": "Leg ultrasound"},
    "diuretic": {"A": "呋塞米", "B": "螺内酯", "C": "甘露醇", "D": "乙酰唑胺", "E": "氢氯噻嗪"},
    "sign": {"A": "麦氏点压痛", "B": "振水音", "C": "蜘蛛痣", "D": "移动性浊音", "E": "墨菲征阳性"},
    "ten": {
        letter: f"{name} nerve"
        for letter, name in zip(
            "ABCDEFGHIJ",
            ("Radial", "Median", "Ulnar", "Axillary", "Sciatic", "Femoral", "Tibial", "Sural", "Vagus", "Phrenic"),
            strict=True,
        )
    },
    "anticoagulant": lettered(["Warfarin", "Aspirin", "Heparin", "Clopidogrel", "Dabigatran"]),
    "virus": lettered(
        ["Hepatitis A virus", "Hepatitis B virus", "Hepatitis C virus", "Cytomegalovirus", "Epstein-Barr virus"]
    ),
    "anaemia": lettered(["Iron deficiency", "Vitamin B12 deficiency", "Folate deficiency", "Thalassemia"]),
    "nephron": lettered(
        [
            "Proximal tubule",
            "Glomerulus",
            "Loop of Henle",
            "Distal tubule",
            "Collecting duct",
            "Renal pelvis",
            "Ureter",
            "Bladder",
            "Urethra",
            "Afferent arteriole",
        ]
    ),
    "abdomen": lettered(["胃溃疡", "十二指肠溃疡", "急性胰腺炎", "胆囊炎", "胃癌"]),
    "blood_thinner": lettered(["阿司匹林", "氯吡格雷", "华法林", "肝素"]),
    "vitamin_zh": lettered(["维生素A", "维生素B1", "维生素C", "维生素D", "维生素E"]),
    "chickenpox": lettered(["潜伏期较长", "有发热", "皮疹呈向心性分布", "具有传染性", "预后良好"]),
    "pressure": {"A": "PaO2 < 60 mmHg", "B": "PaO2 > 60 mmHg", "C": "pH + 1", "D": "pH - 1"},
}
WORDINGS = Path(__file__).with_name("wordings.jsonl")
UNSEEN = Path(__file__).with_name("unseen_wordings.jsonl")
AUDIT = Path(__file__).with_name("audit_wordings.jsonl")


def judge(letters: str | None, gold: str | None) -> str:
    """Returns "right", "missed" (None where there was an answer) or "invented" (a letter that was not given)."""
    if letters == gold:
        return "right"
    return "missed" if letters is None else "invented"


def tally(rows: list[tuple[str, str]]) -> str:
    """Returns one line per kind that has an error."""
    kinds: dict[str, Counter[str]] = {}
    for kind, verdict in rows:
        kinds.setdefault(kind, Counter())[verdict] += 1
    return "\n".join(f"{kind}: {dict(count)}" for kind, count in sorted(kinds.items()) if len(count) > 1)


def read_labelled(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def assert_read_right(rows: list[dict]) -> None:
    """At least 97 % right, at most 1 % invented."""
    verdicts = [
        (row["kind"], judge(extract_answer(row["text"], row["options"]).letters, row["gold_extracted"])) for row in rows
    ]
    counts = Counter(verdict for _, verdict in verdicts)
    assert counts["right"] / len(verdicts) >= 0.97, tally(verdicts)
    assert counts["invented"] / len(verdicts) <= 0.01, tally(verdicts)


@pytest.fixture(scope="module")
def raw_answers(shared_data: Path) -> list[dict]:
    return read_labelled(shared_data / "model_outputs" / "raw_answers.jsonl")


def test_labelled_raw_answers(raw_answers):
    assert len(raw_answers) >= 300
    assert_read_right(raw_answers)


def test_wordings_of_an_author_who_had_not_seen_the_rules():
    """Written after the rules were finished: 97.5 % were right at first sight and none invented."""
    rows = read_labelled(UNSEEN)
    assert len(rows) == 240
    assert_read_right(rows)


@pytest.mark.parametrize(("audit_round", "size"), [(1, 431), (2, 462), (3, 112), (4, 109), (5, 114)])
def test_wordings_of_an_audit(audit_round, size):
    """Five more sets: the first written without a look at the rules, the others each after they had been mended.

    At first sight 97.9, 97.0, 90.2, 90.8 and 89.5 % were right, and 0.5, 0.6, 1.8, 2.8 and 2.6 % were read as a letter
    that was not given. The last three hold odd wordings only, one of each.
    """
    rows = [row for row in read_labelled(AUDIT) if row["round"] == audit_round]
    assert len(rows) == size
    assert_read_right(rows)


@pytest.mark.parametrize("held_out_round", [1, 2, 3, 4, 5])
def test_held_out_wordings(held_out_round):
    """Wordings of the same kinds, written in five rounds, each before a rule was changed for it.

    At first sight 96.5%, 92.3%, 95.7%, 95.8% and 89.1% were right and 0.2%, 1.9%, 1.2%, 0% and 0% invented; the rules
    were then made more general. What an unseen wording meets is better judged by those first numbers than by the bounds
    below.
    """
    rows = [row for row in read_labelled(WORDINGS) if row["round"] == held_out_round]
    verdicts = [
        (row["kind"], judge(extract_answer(row["text"], OPTIONS[row["options"]]).letters, row["gold"])) for row in rows
    ]
    counts = Counter(verdict for _, verdict in verdicts)
    assert len({kind for kind, _ in verdicts}) >= 20
    assert counts["right"] / len(rows) >= 0.98, tally(verdicts)
    assert counts["invented"] == 0, tally(verdicts)


CLINIC = {"A": "omeprazole", "B": "amoxicillin", "C": "amoxicillin-clavulanate", "D": "salbutamol"}


@pytest.mark.parametrize(
    ("text", "letters", "rule"),
    [
        ("<plan> drug </plan> <think> s1 melena s4 omeprazole </think> <answer> amoxicillin </answer>", "B", "tag"),
        ("<think> a </think> <answer> amoxicillin-clavulanate </answer>", "C", "tag"),
        ("<think> a </think> <answer> aspirin </answer>", None, "none"),
        ("<think> s4 option omeprazole </think>", None, "none"),
        ("<answer> omeprazole </answer> <answer> salbutamol </answer>", "D", "tag"),
        ("The answer is B.", "B", "statement"),
        ("\\boxed{D}", "D", "boxed"),
        ("B", "B", "letter"),
        ("A错，B对，C错。", "B", "judgement"),
        ("salbutamol", "D", "text"),
        ("", None, "none"),
    ],
)  # fmt: skip
def test_answer_and_rule(text, letters, rule):
    assert extract_answer(text, CLINIC) == Extraction(letters, rule)


def test_signs_keep_options_apart():
    options = {"A": "pH + 1", "B": "pH - 1", "C": "p < 5", "D": "p > 5"}
    for letter, text in options.items():
        assert extract_answer(f"<answer>{text}</answer>", options).letters == letter
        assert extract_answer(text, options).letters == letter
    assert extract_answer("<answer>pH 1</answer>", options).letters is None


def test_shared_option_text_needs_its_letter():
    options = {"A": "柴胡皂苷b3", "B": "柴胡皂苷b3", "C": "柴胡皂苷a"}
    assert extract_answer("答案是柴胡皂苷b3", options).letters is None
    assert extract_answer("答案是B. 柴胡皂苷b3", options).letters == "B"
    assert extract_answer("柴胡皂苷a", options).letters == "C"


def test_missing_letter_is_no_answer():
    options = {"A": "x-ray", "B": "biopsy", "D": "surgery"}  # as published: there is no C
    assert extract_answer("The answer is C.", options).letters is None
    assert extract_answer("The answer is D.", options).letters == "D"
    assert extract_answer("The fourth option is correct.", options).letters is None
    assert extract_answer("The third option is correct.", options).letters == "D"


def test_mark_judges_the_statement_when_the_answer_is_named():
    text = "松果体（A对）、肾上腺（B对）；胰岛（C对）；精曲小管（D错，为本题正确答案）二者都不是。"
    assert extract_answer(text, OPTIONS["diuretic"]).letters == "D"


def test_answer_is_found_at_either_end_of_a_long_response():
    filler = "The findings were weighed again. " * 2000
    assert len(filler) > HEAD_CHARACTERS + TAIL_CHARACTERS
    assert extract_answer(filler + "The answer is B.", OPTIONS["test"]).letters == "B"
    assert extract_answer("The answer is B.\n" + filler, OPTIONS["test"]).letters == "B"
    assert extract_answer(f"<think>{filler}The answer is A.</think>\nB", OPTIONS["test"]).letters == "B"


FRAGMENTS = (
    *("A", " ", "\n", "A, ", "or A ", "A and ", "<think>", "</think>", "<answer>", "</answer>", "answer is ", "the "),
    *('"', "'", "(", "[", "**", "\n#", "--", "->", ". ", "。", "选", "故选A", "不", "答案", "C对", "√ A\n", "第一个"),
    *("the first option ", "\nQuestion: ", "下一题", "best ", "wait ", "no, ", "if ", "Leg ultrasound ", "\\boxed{"),
    *("A. Echocardiography\n", "point a to ", "A/B ", "C. √\n", "neither A ", "~~A~~", "&lt;", "A: true\n", "是A，"),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join))
def test_repetition_of_a_megabyte_is_read_in_bounded_time(unit):
    """Measured at most 40 ms on one core; the bound leaves room for a busy machine."""
    text = unit * (1_000_000 // len(unit))
    # The best of three: a garbage collection of everything that the other tests hold can fall into one.
    assert min(_thread_seconds(text) for _ in range(3)) < 0.5


def _thread_seconds(text: str) -> float:
    start = time.thread_time()
    extract_answer(text, OPTIONS["test"])
    return time.thread_time() - start


def test_rate_when_no_item_was_seen_before(raw_answers):
    """Measured 11,700 to 12,700 a second on one core; the bound leaves room for a busy machine."""
    items = [
        (row["text"], {letter: f"{text} {number}" for letter, text in row["options"].items()})
        for number in range(10)
        for row in raw_answers
    ]
    start = time.process_time()
    for text, options in items:
        extract_answer(text, options)
    assert len(items) / (time.process_time() - start) > 2_500


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("比较而言，D比C更合适，选D。", "D"),
        ("The trap is option B. The vignette says nothing of it.", None),
        ("All but D are incorrect.", "D"),
        ("Initially I chose A, but D is correct.", "D"),
        ("起初选A，后来认为D更合适。", "D"),
        ("<think>\n答案应该是B。\n</think>\n", "B"),
        ("<think>\n可能是A或B。\n</think>\n", None),
        ("选C。\n\n2. 下列药物中正确的是（ ）\nA. 甲\nB. 乙\n选A。", "C"),
        ("1. 逐项分析：\nA. 不符合\nB. 不符合\n2. 结论：选D。", "D"),
    ],
)
def test_words_of_comparison_and_correction(text, letters):
    assert extract_answer(text, OPTIONS["abdomen"]).letters == letters


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(st.text(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)),
    st.sampled_from(sorted(OPTIONS)),
)
def test_whatever_is_read_is_sorted_letters_of_the_item(text, name):
    found = extract_answer(text, OPTIONS[name])
    if found.letters is None:
        assert found.rule == "none"
    else:
        assert found.letters
        assert found.rule != "none"
        assert list(found.letters) == sorted(set(found.letters))
        assert set(found.letters) <= set(OPTIONS[name])


@settings(deadline=None, max_examples=100)
@given(st.sampled_from("ABCDE"), st.sampled_from("ABCDE"), st.sampled_from(["micro", "sign"]))
def test_last_commitment_wins(first, last, name):
    options = OPTIONS[name]
    for text in (
        f"The answer is {first}. No, the answer is {last}.",
        f"答案是{first}。不对，应该选{last}。",
        f"<answer>{first}</answer>\n<answer>{last}</answer>",
        f"<think>The answer is {first}.</think>\nAnswer: {last}",
        f"The answer is {options[first]}. Wait, the answer is {options[last]}.",
    ):
        assert extract_answer(text, options).letters == last
