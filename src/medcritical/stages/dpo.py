"""dpo: scored pairs (or, for the NLL controls, pairs) + checkpoint -> checkpoint."""

from __future__ import annotations

from statistics import fmean

from transformers import PreTrainedTokenizerBase

from medcritical.batching import PairExample, num_steps
from medcritical.config.choices import Match
from medcritical.config.stages import DpoStage
from medcritical.errors import TrainingError
from medcritical.records import PreferencePair, ScoredPair
from medcritical.stages.context import Inputs, Output
from medcritical.stages.examples import chosen_and_rejected
from medcritical.stages.pair import PAIRS
from medcritical.stages.reference import SCORED
from medcritical.stages.results import METRICS
from medcritical.stages.training import (
    launched,
    record_training,
    save_result,
    training_student,
    with_adapters,
)
from medcritical.store import read_records
from medcritical.store.hashing import derive_seed
from medcritical.training.run import train_dpo


def run(config: DpoStage, inputs: Inputs, output: Output) -> None:
    """Train the policy on preferences. Without a beta the NLL term is trained alone. Facts name the loss as it was used."""
    has_contrast, prepare = config.beta is not None, _unscored if config.beta is None else _scored
    with launched(output) as launch:
        student = training_student(inputs["checkpoint"], output)
        pairs = prepare(config, student.tokenizer, inputs)
        model = with_adapters(student.model, config.lora, derive_seed(config.seed, "lora"))
        result = train_dpo(
            model,
            student.tokenizer.pad_token_id,
            pairs,
            config.optim,
            output.trainer,
            beta=config.beta if config.beta is not None else 1.0,
            nll_weight=config.nll_weight,
            label_smoothing=config.label_smoothing,
            contrast=has_contrast,
            starts_at_reference=config.starts_at_reference,
            steps=matched_steps(config, pairs, inputs),
            seed=config.seed,
            metrics_path=output.folder / METRICS,
            on_progress=lambda done, total, metrics: output.progress(done, total, "steps"),
            launch=launch,
        )
        save_result(output, inputs["checkpoint"], student, model, result)
    record_training(output, result, pairs=len(pairs), formula=formula(config))


def formula(config: DpoStage) -> str:
    """The loss of one optimizer step, written out."""
    nll = f"{config.nll_weight:g} * sum over chosen(NLL per token)"
    if config.beta is None:
        return f"[{nll}] / batch_size"
    margin = f"{config.beta:g} * [(log pi/pi_ref)(chosen) - (log pi/pi_ref)(rejected)]"
    smoothing = f", label smoothing {config.label_smoothing:g}" if config.label_smoothing else ""
    return f"[sum over pairs(-log sigmoid({margin})){smoothing} + {nll}] / batch_size"


def _scored(config: DpoStage, tokenizer: PreTrainedTokenizerBase, inputs: Inputs) -> list[PairExample]:
    examples = []
    for scored in read_records(inputs["scored"] / SCORED, ScoredPair):
        chosen, rejected = chosen_and_rejected(tokenizer, config.template, scored.pair)
        examples.append(
            PairExample(
                prompt_ids=chosen.prompt_ids,
                chosen_ids=chosen.response_ids,
                rejected_ids=None if rejected is None else rejected.response_ids,
                reference_chosen_logp=scored.reference_chosen_logp,
                reference_rejected_logp=scored.reference_rejected_logp,
            )
        )
    return examples


def _unscored(config: DpoStage, tokenizer: PreTrainedTokenizerBase, inputs: Inputs) -> list[PairExample]:
    """Chosen responses alone: no reference takes part in their loss."""
    pairs = read_records(inputs["pairs"] / PAIRS, PreferencePair)
    chosen = [chosen_and_rejected(tokenizer, config.template, pair)[0] for pair in pairs]
    fitting = [example for example in chosen if example.length <= config.optim.max_length]
    if not fitting:
        raise TrainingError(
            f"all {len(pairs)} responses are longer than dpo.max_length={config.optim.max_length} tokens."
        )
    return [
        PairExample(
            prompt_ids=example.prompt_ids,
            chosen_ids=example.response_ids,
            rejected_ids=None,
            reference_chosen_logp=0.0,
            reference_rejected_logp=None,
        )
        for example in fitting
    ]


def matched_steps(config: DpoStage, pairs: list[PairExample], inputs: Inputs) -> int:
    """Optimizer steps: as configured, or as many as make this control equal to its target.

    Equal seconds means as many tokens as the target would have trained on in the time of its training and of its reference
    scoring together, at the rate the target was measured to train at.
    """
    optim = config.optim
    if config.match is Match.steps:
        return num_steps(len(pairs), optim.batch_size, optim.epochs, optim.steps)
    target = inputs.manifest("target").facts
    tokens = float(target["trained_tokens"])
    if config.match is Match.seconds and "target_reference" in inputs:
        tokens *= 1 + inputs.manifest("target_reference").costs.seconds / target["train_seconds"]
    tokens_per_step = optim.batch_size * fmean(len(pair.prompt_ids) + len(pair.chosen_ids) for pair in pairs)
    return max(1, round(tokens / tokens_per_step))
