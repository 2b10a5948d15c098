"""The verifier that a stage is told to use, with the judge's engine where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medcritical.config.choices import VerifierKind
from medcritical.config.schema import TemplateConfig, VerifierConfig
from medcritical.selfplay.judge import Judge
from medcritical.selfplay.verify import ExactVerifier, JudgeVerifier, Verifier
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import asked_engine
from medcritical.text.thoughts import ThoughtFormat


@contextmanager
def open_verifier(
    config: VerifierConfig, template: TemplateConfig, inputs: Inputs, output: Output
) -> Iterator[Verifier]:
    """The verifier; what its judge has used is entered into `output` when it is closed."""
    form = ThoughtFormat(template)
    if config.kind is VerifierKind.exact:
        yield ExactVerifier(form)
        return
    assert config.judge is not None  # the configuration check has seen to it
    with asked_engine(config.judge.engine, inputs, output) as engine:
        judge = Judge(engine, config.judge, template)
        yield JudgeVerifier(form, judge)
        output.spend("judge", engine.usage)
    if judge.failures:
        reason, _ = judge.failures.most_common(1)[0]
        alarm = (
            f"The judge gave no reply on {judge.failures.total()} of {judge.asked} answers, which stay undecided. "
            f"Most often: {reason}"
        )
        output.facts.setdefault("alarms", []).append(alarm)
