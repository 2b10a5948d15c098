"""What a stage gives back besides files."""

from pathlib import Path

from configurations import configure
from medcritical.config.choices import Arithmetic
from medcritical.generation.engine import Usage
from medcritical.stages.context import Computation, Output
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


def test_ranks_have_used_together_what_any_of_them_has() -> None:
    """A server that one rank has found silent, for its answers were on disk, is known by what another rank heard."""
    first = Computation(packages={"torch"}, devices={"H200"}, servers={"student": "unknown", "judge": "unknown"})
    second = Computation(devices={"H100"}, arithmetic={Arithmetic.float32}, servers={"student": "0.11.0"})
    third = Computation(packages={"peft"}, arithmetic={Arithmetic.bfloat16_read_only}, servers={"student": "0.12.0"})
    assert Computation.of_ranks([first, second, third]) == Computation(
        packages={"torch", "peft"},
        devices={"H200", "H100"},
        ranks=3,
        arithmetic={Arithmetic.float32, Arithmetic.bfloat16_read_only},
        servers={"student": "0.11.0 and 0.12.0", "judge": "unknown"},
    )
