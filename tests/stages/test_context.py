"""What a stage gives back besides files."""

from pathlib import Path

from configurations import configure
from medcritical.generation.engine import Usage
from medcritical.stages.context import Output
from medcritical.store import Costs


def test_what_engines_used_goes_to_the_account_of_their_model() -> None:
    output = Output(Path(), configure().trainer, lambda *_: None)
    output.spend("student", Usage(prompt_tokens=10, completion_tokens=3))
    output.spend("student", Usage(prompt_tokens=1, completion_tokens=2, retries=1))
    output.spend("judge", Usage(prompt_tokens=100, completion_tokens=1, retries=4))
    assert output.costs(2.00049) == Costs(
        student_prompt_tokens=11,
        student_tokens=5,
        judge_prompt_tokens=100,
        judge_tokens=1,
        retries=5,
        seconds=2.0,
    )
