"""Asking in several orders: what is asked, what is kept, and what consistency comes out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from medcritical.stages.permuted import PERMUTATIONS, PermutedAnswers, ask_permuted

from configurations import REAL, configure
from medcritical.config.stages import AnswerStage
from medcritical.generation.engine import Sampling, Usage
from medcritical.pipeline.plan import make_plan
from medcritical.records import Attempt, Completion, Prompt, Question
from medcritical.stages.context import Output
from medcritical.store import read_records
from medcritical.text.permutation import permute_options
from medcritical.text.prompts import attempt_prompt

CONFIG = configure(*REAL, "evaluation.permutations=4")
STAGE = next(call.config for call in make_plan(CONFIG, {}).calls if isinstance(call.config, AnswerStage))
GREEDY = Sampling(temperature=0, top_p=1, max_new_tokens=8, batch_tokens=4)


class Answering:
    """An engine whose answers a function of the prompt gives."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer
        self.asked: list[Prompt] = []
        self.usage = Usage()

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Completion]]:
        assert (sampling, samples, seed) == (GREEDY, 1, 0)
        self.asked += prompts
        texts = [self.answer(prompt.user) for prompt in prompts]
        return [[Completion(text=text, prompt_tokens=1, completion_tokens=1, is_finished=True)] for text in texts]


def make(number: int, letters: str | None) -> Attempt:
    options = {"A": f"aspirin {number}", "B": f"heparin {number}", "C": f"insulin {number}", "D": f"codeine {number}"}
    question = Question(
        id=f"q{number}", stem=f"Which {number}?", options=options, answer="C", language="en", split="test", source="t"
    )
    return Attempt(
        question=question,
        text="",
        letters=letters,
        rule="",
        is_correct=letters == "C",
        is_well_formed=True,
        is_sound=None,
        prompt_tokens=1,
        completion_tokens=1,
        round=0,
    )


def letter_of(user: str, text: str) -> str:
    """The letter under which the prompt shows an option."""
    return next(line[0] for line in user.splitlines() if line[1:].startswith(f". {text}"))


def ask(tmp_path: Path, engine: Answering, predictions: list[Attempt]) -> tuple[float, float, list[PermutedAnswers]]:
    output = Output(tmp_path, CONFIG.trainer, lambda *_: None)
    permuted = ask_permuted(STAGE, engine, GREEDY, predictions, output)
    return permuted.accuracy, permuted.consistency, read_records(tmp_path / PERMUTATIONS, PermutedAnswers)


def test_one_who_knows_is_right_in_every_order(tmp_path: Path) -> None:
    engine = Answering(lambda user: f"<answer>{letter_of(user, 'insulin')}</answer>")
    accuracy, consistent, answers = ask(tmp_path, engine, [make(1, "C"), make(2, "C")])
    assert (accuracy, consistent) == (1.0, 1.0)
    assert [item.letters for item in answers] == [("C",) * 4] * 2
    assert len({order for item in answers for order in item.orders}) > 4  # each question has orders of its own


def test_one_who_always_says_a_is_found_out(tmp_path: Path) -> None:
    accuracy, consistent, answers = ask(tmp_path, Answering(lambda _: "<answer>A</answer>"), [make(1, "A")])
    assert consistent == 0.0
    # "A" means another option in every order: what comes back is the first letter of the order.
    assert answers[0].letters == tuple(order[0] for order in answers[0].orders)
    assert accuracy == sum(order[0] == "C" for order in answers[0].orders) / 4


def test_the_own_order_is_not_asked_again_and_the_others_are_what_they_say(tmp_path: Path) -> None:
    engine = Answering(lambda user: f"<answer>{letter_of(user, 'heparin')}</answer>")
    predictions = [make(1, "B"), make(2, None)]
    accuracy, consistent, answers = ask(tmp_path, engine, predictions)
    assert len(engine.asked) == 2 * 3
    assert [item.letters[0] for item in answers] == ["B", None]
    assert consistent == 0.5  # what could not be read once is not consistent
    assert accuracy == 0.0
    expected = [
        attempt_prompt(STAGE.template, permute_options(attempt.question, order))
        for attempt, item in zip(predictions, answers, strict=True)
        for order in item.orders[1:]
    ]
    assert engine.asked == expected


def test_answers_of_several_letters_come_back_sorted(tmp_path: Path) -> None:
    def both(user: str) -> str:
        return f"<answer>{''.join(sorted(letter_of(user, text) for text in ('insulin', 'aspirin')))}</answer>"

    _, consistent, answers = ask(tmp_path, Answering(both), [make(1, "AC")])
    assert consistent == 1.0
    assert set(answers[0].letters) == {"AC"}


def test_orders_are_drawn_by_the_runs_seed() -> None:
    def seeds(*overrides: str) -> set[int]:
        calls = make_plan(configure(*REAL, *overrides), {}).calls
        return {call.config.seed for call in calls if isinstance(call.config, AnswerStage)}

    assert seeds("seed=1") == {0}  # nothing is drawn
    assert seeds("evaluation.permutations=4", "seed=1") != seeds("evaluation.permutations=4", "seed=2")
    assert len(seeds("evaluation.permutations=4")) == 1  # every checkpoint is asked in the same orders


@pytest.mark.parametrize("override", ["evaluation.permutations=0", "evaluation.permutations=25"])
def test_a_senseless_number_of_orders_is_refused(override: str) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.permutations"):
        configure(*REAL, override)
