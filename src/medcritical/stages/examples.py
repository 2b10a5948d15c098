"""From records to token ids: what stage 1 and stage 2 train on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from medcritical.batching import Example
from medcritical.config.choices import CorrectionForm
from medcritical.config.schema import TemplateConfig
from medcritical.errors import DataError, TrainingError
from medcritical.modeling.prompts import encode_prompt, encode_response
from medcritical.records import PreferencePair, Prompt, Question, TaughtCorrection, ThoughtTemplate
from medcritical.selfplay.corrections import tail_format
from medcritical.text.prompts import attempt_prompt, correction_prompt, step_correction_prompt
from medcritical.text.steps import located_step
from medcritical.text.thoughts import ThoughtFormat


def template_examples(
    tokenizer: PreTrainedTokenizerBase, template: TemplateConfig, thoughts: Iterable[ThoughtTemplate]
) -> list[Example]:
    """Question -> outline, chain, answer, for every kept template."""
    form = ThoughtFormat(template)
    return [
        encode(tokenizer, attempt_prompt(template, thought.question), _response(form, thought))
        for thought in map(_refuse_held_out, thoughts)
        if thought.is_kept
    ]


def correction_examples(
    tokenizer: PreTrainedTokenizerBase,
    template: TemplateConfig,
    corrections: Iterable[TaughtCorrection],
    correction_form: CorrectionForm,
) -> list[Example]:
    """Question and wrong attempt -> insight and the right thought: whole, from the faulty step on, or once each.

    A correction whose insight names no step has no second form.
    """
    form, tail_form = ThoughtFormat(template), tail_format(template)
    examples = []
    for item in corrections:
        thought = _refuse_held_out(item.template)
        if correction_form is not CorrectionForm.step:
            prompt = correction_prompt(template, thought.question, item.attempt)
            response = form.render_correction(item.insight, _response(form, thought))
            examples.append(encode(tokenizer, prompt, response))
        number = located_step(item.insight, len(thought.chain))
        if correction_form is not CorrectionForm.whole and number is not None:
            prompt = step_correction_prompt(template, thought.question, item.attempt)
            tail = tail_form.render((), thought.chain[number - 1 :], thought.answer)
            examples.append(encode(tokenizer, prompt, tail_form.render_correction(item.insight, tail)))
    return examples


def chosen_and_rejected(
    tokenizer: PreTrainedTokenizerBase, template: TemplateConfig, pair: PreferencePair
) -> tuple[Example, Example | None]:
    """The pair's two responses to the plain question; the rejected one may be missing. Or an example for the corrector."""
    refuse_held_out_question(pair.question)
    prompt = _prompt(template, pair)
    rejected = None if pair.rejected is None else encode(tokenizer, prompt, pair.rejected)
    return encode(tokenizer, prompt, pair.chosen), rejected


def _prompt(template: TemplateConfig, pair: PreferencePair) -> Prompt:
    if pair.corrects is None:
        return attempt_prompt(template, pair.question)
    ask = correction_prompt if pair.from_step is None else step_correction_prompt
    return ask(template, pair.question, pair.corrects)


def encode(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, response: str) -> Example:
    """One training example; the response ends with the end-of-sequence token."""
    return Example(
        prompt_ids=encode_prompt(tokenizer, prompt), response_ids=encode_response(tokenizer, response, is_finished=True)
    )


def within_length(examples: Sequence[Example], max_length: int) -> tuple[list[Example], int]:
    """The examples of at most `max_length` tokens and how many were longer. Raises TrainingError when none is left."""
    kept = [example for example in examples if example.length <= max_length]
    if not kept:
        shortest = min((example.length for example in examples), default=0)
        raise TrainingError(
            f"nothing to train on: all {len(examples)} examples are longer than max_length={max_length} tokens (the "
            f"shortest has {shortest}): raise sft.max_length or dpo.max_length."
        )
    return kept, len(examples) - len(kept)


def _response(form: ThoughtFormat, thought: ThoughtTemplate) -> str:
    return form.render(thought.outline, thought.chain, thought.answer)


def _refuse_held_out(thought: ThoughtTemplate) -> ThoughtTemplate:
    refuse_held_out_question(thought.question)
    return thought


def refuse_held_out_question(question: Question) -> None:
    """Raise DataError for a question that is not of the train split: it must never be trained on."""
    if question.split != "train":
        raise DataError(f"question {question.id} is of the {question.split} split and cannot be trained on.")
