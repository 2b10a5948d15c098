"""The LLM as judge: one question with its key and one answer at a time, one decision, 1 for right or 2 for wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from medcritical.config.schema import JudgeConfig, TemplateConfig
from medcritical.generation.engine import Engine, PartlyAnswered, Sampling
from medcritical.records import Completion, Judgement, Prompt, Question
from medcritical.text.prompts import neutralise, render_question

_THINKING_END = re.compile(r"</\s*think(?:ing)?\s*>", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_DECISIONS: dict[int, Judgement] = {1: "right", 2: "wrong"}


class Judge:
    """Decides through an engine, greedily, and on equal answers to a question once: students repeat themselves.

    `asked` counts the answers to decide on, `failures` those of them without a reply, by reason.
    """

    def __init__(self, engine: Engine, config: JudgeConfig, template: TemplateConfig) -> None:
        self.engine, self.config, self.template = engine, config, template
        self.decisions: dict[Prompt, Judgement] = {}
        self.asked = 0
        self.failures: Counter[str] = Counter()

    def decide(
        self, answered: Sequence[tuple[Question, str]], on_progress: Callable[[int, int], None] | None = None
    ) -> list[Judgement]:
        """What the judge makes of each question's reply, in order; undecided where it gives no usable reply.

        Raises:
            GenerationError: the judge cannot be asked at all.
        """
        sampling = Sampling(
            temperature=0,
            top_p=1,
            max_new_tokens=self.config.max_new_tokens,
            batch_tokens=self.config.batch_tokens,
            only=tuple(_DECISIONS) if self.config.only_digits else (),
        )
        prompts = [judge_prompt(self.config, self.template, question, reply) for question, reply in answered]
        self.asked += len(prompts)
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.decisions]
        answers: Sequence[list[Completion] | None] = []
        try:
            if new:
                answers = self.engine.generate(new, sampling, seed=0, on_progress=on_progress)
        except PartlyAnswered as partly:
            answers = partly.answers
            reasons = {new[number]: reason for number, reason in partly.reasons.items()}
            self.failures.update(reasons[prompt] for prompt in prompts if prompt in reasons)
        for prompt, answer in zip(new, answers, strict=True):
            if answer is not None:
                self.decisions[prompt] = read_decision(answer[0].text)
        return [self.decisions.get(prompt, "undecided") for prompt in prompts]


def judge_prompt(config: JudgeConfig, template: TemplateConfig, question: Question, reply: str) -> Prompt:
    """What the judge is asked. Neither question nor reply can close its own delimiter or open another."""
    gold = template.option_separator.join(
        template.option.format(letter=letter, text=question.options[letter]) for letter in question.answer
    )
    parts = {"question": render_question(template, question), "gold": gold, "reply": reply}
    return Prompt(
        system=config.system,
        user=config.prompt.format(**{name: neutralise(text, config.prompt) for name, text in parts.items()}),
    )


def read_decision(text: str) -> Judgement:
    """The decision in what a judge wrote after its thinking; undecided unless 1 or 2 is the only number there.

    Digits, because "incorrect" contains "correct"; the only one, because a judge that repeats the instruction names both.
    """
    said = _THINKING_END.split(text)[-1]
    if re.search(r"<\s*think", said, re.IGNORECASE):  # thinking that never ended
        return "undecided"
    numbers = {int(number) for number in _NUMBER.findall(said)}
    return _DECISIONS.get(numbers.pop(), "undecided") if len(numbers) == 1 else "undecided"
