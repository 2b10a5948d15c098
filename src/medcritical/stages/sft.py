"""sft: templates (and corrections) + checkpoint -> checkpoint."""

from __future__ import annotations

from medcritical.config.stages import SftStage
from medcritical.modeling.checkpoint import save_checkpoint
from medcritical.modeling.lora import add_lora
from medcritical.records import TaughtCorrection, ThoughtTemplate
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import training_student
from medcritical.stages.examples import correction_examples, template_examples, within_length
from medcritical.stages.matching import matched_steps, with_warmup
from medcritical.stages.results import METRICS
from medcritical.stages.teach import CORRECTIONS, TEMPLATES
from medcritical.stages.training import record_training
from medcritical.store import read_records
from medcritical.store.hashing import derive_seed
from medcritical.training.run import train_sft


def run(config: SftStage, inputs: Inputs, output: Output) -> None:
    """Fine-tune on templates and corrections, mixed.

    Corrections of own errors, where there are any, take the place of the synthetic ones that came with the templates.
    """
    student = training_student(inputs["checkpoint"], output.trainer)
    tokenizer, template = student.tokenizer, config.template
    thoughts = read_records(inputs["templates"] / TEMPLATES, ThoughtTemplate)
    source = "corrections" if "corrections" in inputs else "templates"
    corrections = read_records(inputs[source] / CORRECTIONS, TaughtCorrection)
    taught = correction_examples(tokenizer, template, corrections, config.correction_form)
    examples = template_examples(tokenizer, template, thoughts) + taught
    examples, too_long = within_length(examples, config.optim.max_length)
    model = student.model
    if config.lora is not None:
        model = add_lora(model, config.lora, derive_seed(config.seed, "lora"))
    steps = matched_steps(config.match, config.optim, examples, inputs)
    result = train_sft(
        model,
        tokenizer.pad_token_id,
        examples,
        with_warmup(config.optim, steps),
        output.trainer,
        steps=steps,
        seed=config.seed,
        metrics_path=output.folder / METRICS,
        on_progress=lambda done, total, metrics: output.progress(done, total, "steps"),
    )
    save_checkpoint(output.folder, model, tokenizer)
    record_training(output, result, examples=len(examples), too_long=too_long, match=config.match.value)
