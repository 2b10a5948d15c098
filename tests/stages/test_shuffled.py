"""Recorded traces are shuffled with their questions."""

from medcritical.data.traces import Trace
from medcritical.records import Question
from medcritical.stages.shuffled import shuffle_question, shuffle_trace


def make(number: int) -> Trace:
    options = {"A": f"aspirin {number}", "B": f"heparin {number}", "C": f"insulin {number}", "D": f"codeine {number}"}
    question = Question(
        id=f"q{number}", stem=f"Which {number}?", options=options, answer="C", language="zh", split="train", source="t"
    )
    return Trace(
        question=question,
        outline=("排除A项",),
        chain=("维生素A缺乏；（C对）", "Option B is wrong."),
        response=f"The answer is C, insulin {number}.",
    )


def test_letters_named_in_a_trace_follow_its_question() -> None:
    for number in range(20):
        trace = make(number)
        shuffled = shuffle_trace(trace, seed=7)
        question = shuffled.question
        assert question == shuffle_question(trace.question, seed=7)
        letter = {text.split()[0]: name for name, text in question.options.items()}
        assert question.answer == letter["insulin"]
        assert shuffled.outline == (f"排除{letter['aspirin']}项",)
        assert shuffled.chain == (f"维生素A缺乏；（{letter['insulin']}对）", f"Option {letter['heparin']} is wrong.")
        assert shuffled.response == f"The answer is {letter['insulin']}, insulin {number}."


def test_traces_are_really_shuffled() -> None:
    assert len({shuffle_trace(make(number), seed=7).question.answer for number in range(20)}) == 4
