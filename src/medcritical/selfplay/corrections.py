"""Reading what a corrector wrote: a whole new response, or one that goes on from the step where the attempt goes wrong."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import msgspec

from medcritical.config.choices import TemplateLevel
from medcritical.config.schema import TemplateConfig
from medcritical.records import Completion
from medcritical.text.steps import first_step, steps_before
from medcritical.text.thoughts import ThoughtFormat


@dataclass(frozen=True)
class ReadCorrection:
    """Insight, the response that is to be verified, and the step it was taken up from (None: anew).

    The response counts as unfinished, and so as malformed, when the correction has not its form.
    """

    insight: str
    response: Completion
    from_step: int | None = None


class CorrectionReader:
    """Reads corrections in one template's form."""

    def __init__(self, template: TemplateConfig) -> None:
        self.template, self.form = template, ThoughtFormat(template)
        self.tail_form = tail_format(template)

    def read(self, answer: Completion) -> ReadCorrection:
        """A correction that is a response of its own."""
        parts = self.form.split_correction(answer.text)
        if parts is None:
            return ReadCorrection("", msgspec.structs.replace(answer, is_finished=False))
        insight, response = parts
        return ReadCorrection(insight, msgspec.structs.replace(answer, text=response))

    def read_from_step(self, wrong: str, answer: Completion) -> ReadCorrection:
        """A correction from its first step on, put behind the steps that `wrong` has before it, with its outline."""
        parts = self.tail_form.split_correction(answer.text)
        tail = self.tail_form.parse(parts[1]) if parts is not None else None
        number = first_step(self.template, tail.chain) if tail is not None else None
        attempt = self.form.parse(wrong)
        if parts is None or tail is None or number is None or attempt is None:
            return ReadCorrection("", msgspec.structs.replace(answer, is_finished=False))
        kept = steps_before(self.template, attempt.chain, number)
        if kept is None:
            return ReadCorrection(parts[0], msgspec.structs.replace(answer, is_finished=False))
        chain = [kept, tail.chain] if kept else [tail.chain]
        text = self.form.render([attempt.outline], chain, tail.answer)
        return ReadCorrection(parts[0], msgspec.structs.replace(answer, text=text), from_step=number)


def tail_format(template: TemplateConfig) -> ThoughtFormat:
    """The form of a response that goes on from a step: the rest of the chain and the answer, without an outline."""
    return ThoughtFormat(dataclasses.replace(template, level=TemplateLevel.detailed))
