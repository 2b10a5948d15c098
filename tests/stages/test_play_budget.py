"""Play whose attempts leave no budget for retries says so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configurations import configure
from medcritical.pipeline.slices import Slices
from medcritical.records import Completion, Question
from medcritical.selfplay.verify import ExactVerifier
from medcritical.stages.context import Output
from medcritical.stages.play import _Player
from medcritical.text.thoughts import ThoughtFormat

QUESTIONS = [
    Question(id=f"q{n}", stem="?", options={"A": "x", "B": "y"}, answer="A", language="en", split="train", source="own")
    for n in (1, 2)
]


@pytest.mark.parametrize(("budget", "is_told"), [(20, True), (24, True), (60, False)])
def test_nothing_retried_is_an_alarm(tmp_path: Path, budget: int, is_told: bool) -> None:
    """Two attempts of ten tokens at each question, all wrong; a retry takes ten more."""
    config = configure("selfplay.attempts=2", "arm=dpo_self")
    form = ThoughtFormat(config.template)
    wrong = Completion(text=form.render(["a"], ["b"], "y"), prompt_tokens=5, completion_tokens=10, is_finished=True)

    def generate(prompts: list[Any], sampling: Any, *, samples: int, **rest: Any) -> list[list[Completion]]:
        return [[wrong] * samples for _ in prompts]

    engines: Any = SimpleNamespace(of=lambda role: SimpleNamespace(generate=generate))
    output = Output(tmp_path, config.trainer, lambda *_: None)
    stage = Slices(config).play(config.arms["dpo_self"], 1)
    player = _Player(stage, ExactVerifier(form), engines, output, budget * len(QUESTIONS))
    trials = player.play(QUESTIONS)
    assert any(trial.corrections for trial in trials) != is_told
    alarms = output.facts.get("alarms", [])
    assert len(alarms) == is_told
    if is_told:
        assert f"2 questions could be, and the attempts wrote 40 of {budget * 2} tokens" in alarms[0]
        assert "selfplay=uniform" in alarms[0]
