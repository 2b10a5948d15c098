"""dpo: scored pairs (or, for the NLL controls, pairs) + checkpoint -> checkpoint."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from medcritical.batching import PairExample
from medcritical.config.choices import Length, Loss
from medcritical.config.schema import LossConfig
from medcritical.config.stages import DpoStage
from medcritical.errors import TrainingError
from medcritical.records import PreferencePair, ScoredPair
from medcritical.selfplay.formula import step_formula
from medcritical.selfplay.pairing import pair_weights
from medcritical.stages.context import Inputs, Output
from medcritical.stages.examples import chosen_and_rejected
from medcritical.stages.matching import match_facts, matched_steps, with_warmup
from medcritical.stages.pair import PAIRS
from medcritical.stages.reference import SCORED, check_arithmetic
from medcritical.stages.results import METRICS
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
from medcritical.training.run import train_dpo

_NO_PAIRS = LossConfig(loss=Loss.sigmoid, length=Length.sum, label_smoothing=0.0, positive_weight=None)
"""Without a contrast no pair has a preference loss, whichever is named."""


def run(config: DpoStage, inputs: Inputs, output: Output) -> None:
    """Train the policy on preferences. Without a beta the NLL of chosen is trained alone. Facts name the loss as it was used."""
    has_contrast, prepare = config.loss is not None, _unscored if config.loss is None else _scored
    with launched(output) as launch:
        student = training_student(inputs["checkpoint"], output)
        pairs = prepare(config, student.tokenizer, inputs)
        model = with_adapters(student.model, config.lora, derive_seed(config.seed, "lora"))
        arithmetic = note_computation(output, launch, model)
        if has_contrast:
            check_arithmetic(inputs.manifest("scored"), inputs["scored"], arithmetic)
        steps = matched_steps(config.match, config.optim, pairs, inputs)
        result = train_dpo(
            model,
            student.tokenizer.pad_token_id,
            pairs,
            with_warmup(config.optim, steps),
            output.trainer,
            beta=1.0 if config.beta is None else config.beta,
            nll_weight=config.nll_weight,
            loss=config.loss or _NO_PAIRS,
            contrast=has_contrast,
            starts_at_reference=config.starts_at_reference,
            steps=steps,
            seed=config.seed,
            metrics_path=output.folder / METRICS,
            on_progress=lambda done, total, metrics: output.progress(done, total, "steps"),
            launch=launch,
        )
        save_result(output, inputs["checkpoint"], student, model, result)
    formula = step_formula(config.loss, config.beta, config.nll_weight, config.pair_weight)
    alone = sum(pair.rejected_ids is None for pair in pairs)
    facts = {"pairs": len(pairs) - alone, "alone": alone, "formula": formula, **match_facts(config.match, inputs)}
    record_training(inputs, output, result, ranks=launch.ranks.size, **facts)
    output.facts["shown"] += [f"{len(pairs) - alone} pairs, {alone} alone", formula]
    if has_contrast and alone == len(pairs):
        output.facts["alarms"].append(
            f"No contrast: none of the {len(pairs)} examples has a rejected response, so that nothing but the NLL of chosen ones "
            "was trained. Play found no wrong attempt in strict form with a right answer to it: use more questions or attempts."
        )


def _scored(config: DpoStage, tokenizer: PreTrainedTokenizerBase, inputs: Inputs) -> list[PairExample]:
    examples, every = [], read_records(inputs["scored"] / SCORED, ScoredPair)
    weights = pair_weights([scored.pair for scored in every], config.pair_weight)
    for scored, weight in zip(every, weights, strict=True):
        chosen, rejected = chosen_and_rejected(tokenizer, config.template, scored.pair)
        examples.append(
            PairExample(
                prompt_ids=chosen.prompt_ids,
                chosen_ids=chosen.response_ids,
                rejected_ids=None if rejected is None else rejected.response_ids,
                reference_chosen_logp=scored.reference_chosen_logp,
                reference_rejected_logp=scored.reference_rejected_logp,
                weight=weight,
            )
        )
    return examples


def _unscored(config: DpoStage, tokenizer: PreTrainedTokenizerBase, inputs: Inputs) -> list[PairExample]:
    """Chosen responses alone: no reference takes part in their loss."""
    pairs = read_records(inputs["pairs"] / PAIRS, PreferencePair)
    chosen = [(pair, chosen_and_rejected(tokenizer, config.template, pair)[0]) for pair in pairs]
    fitting = [(pair, example) for pair, example in chosen if example.length <= config.optim.max_length]
    if not fitting:
        raise TrainingError(
            f"all {len(pairs)} responses are longer than dpo.max_length={config.optim.max_length} tokens."
        )
    weights = pair_weights([pair for pair, _ in fitting], config.pair_weight)
    return [
        PairExample(
            prompt_ids=example.prompt_ids,
            chosen_ids=example.response_ids,
            rejected_ids=None,
            reference_chosen_logp=None,
            reference_rejected_logp=None,
            weight=weight,
        )
        for (_, example), weight in zip(fitting, weights, strict=True)
    ]
