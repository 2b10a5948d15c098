"""sft: templates (and corrections) + checkpoint -> checkpoint."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from medcritical.batching import Example
from medcritical.config.stages import SftStage
from medcritical.records import TaughtCorrection, ThoughtTemplate
from medcritical.stages.context import Inputs, Output
from medcritical.stages.examples import correction_examples, template_examples, within_length
from medcritical.stages.matching import match_facts, matched_steps, with_warmup
from medcritical.stages.results import METRICS
from medcritical.stages.teach import CORRECTIONS, TEMPLATES
from medcritical.stages.training import (
    launched,
    note_computation,
    record_training,
    save_result,
    training_student,
    with_adapters,
)
from medcritical.store import read_records
from medcritical.store.hashing import derive_seed
from medcritical.training.run import train_sft


def run(config: SftStage, inputs: Inputs, output: Output) -> None:
    """Fine-tune on templates and corrections, mixed.

    Corrections of own errors, where there are any, take the place of the synthetic ones that came with the templates.
    """
    with launched(output) as launch:
        student = training_student(inputs["checkpoint"], output)
        examples, too_long = _examples(config, student.tokenizer, inputs)
        model = with_adapters(student.model, config.lora, derive_seed(config.seed, "lora"))
        note_computation(output, launch, model)
        steps = matched_steps(config.match, config.optim, examples, inputs)
        result = train_sft(
            model,
            student.tokenizer.pad_token_id,
            examples,
            with_warmup(config.optim, steps),
            output.trainer,
            steps=steps,
            seed=config.seed,
            metrics_path=output.folder / METRICS,
            on_progress=lambda done, total, metrics: output.progress(done, total, "steps"),
            launch=launch,
        )
        save_result(output, inputs["checkpoint"], student, model, result)
    facts = {"examples": len(examples), "too_long": too_long, **match_facts(config.match, inputs)}
    record_training(inputs, output, result, ranks=launch.ranks.size, **facts)


def _examples(config: SftStage, tokenizer: PreTrainedTokenizerBase, inputs: Inputs) -> tuple[list[Example], int]:
    """What is trained on, and how many examples are too long for it."""
    thoughts = read_records(inputs["templates"] / TEMPLATES, ThoughtTemplate)
    source = "corrections" if "corrections" in inputs else "templates"
    corrections = read_records(inputs[source] / CORRECTIONS, TaughtCorrection)
    template = config.template
    taught = correction_examples(tokenizer, template, corrections, config.correction_form)
    return within_length(template_examples(tokenizer, template, thoughts) + taught, config.optim.max_length)
