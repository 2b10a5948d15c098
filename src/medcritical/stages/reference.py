"""reference: pairs + reference checkpoint -> `scored.jsonl`: log-probabilities that every beta and epoch shares."""

from __future__ import annotations

import math
from pathlib import Path

from medcritical.batching import Example
from medcritical.config.choices import Arithmetic
from medcritical.config.stages import ReferenceStage
from medcritical.errors import ConfigError, TrainingError
from medcritical.records import PreferencePair, ScoredPair
from medcritical.stages.context import Inputs, Output
from medcritical.stages.examples import chosen_and_rejected
from medcritical.stages.pair import PAIRS
from medcritical.stages.training import launched, note_computation, training_student
from medcritical.store import Manifest, read_records
from medcritical.training.device import forward_of
from medcritical.training.run import score_responses

SCORED = "scored.jsonl"


def run(config: ReferenceStage, inputs: Inputs, output: Output) -> None:
    """Score both responses of every pair that fits. Responses chosen alone are handed on without scores: their loss needs none.

    Facts: pairs scored, responses alone, both that are too long.
    """
    with launched(output) as launch:
        student = training_student(inputs["checkpoint"], output)
        student.model.requires_grad_(False)
        note_computation(output, launch, student.model, scoring=True)
        pairs = read_records(inputs["pairs"] / PAIRS, PreferencePair)
        both = [(pair, *chosen_and_rejected(student.tokenizer, config.template, pair)) for pair in pairs]
        fitting = [
            (pair, chosen, rejected)
            for pair, chosen, rejected in both
            if max(chosen.length, rejected.length if rejected else 0) <= config.max_length
        ]
        if not fitting:
            raise TrainingError(
                f"all {len(pairs)} pairs are longer than dpo.max_length={config.max_length} tokens: raise it."
            )
        scores = score_responses(
            student.model,
            student.tokenizer.pad_token_id,
            [response for _, chosen, rejected in fitting if rejected is not None for response in (chosen, rejected)],
            output.trainer,
            lambda done, total, metrics: output.progress(done, total, "batches"),
            launch,
        )
    if launch.ranks.is_first:
        _write(output, fitting, scores, too_long=len(both) - len(fitting))


def check_arithmetic(scored: Manifest, folder: Path, here: Arithmetic) -> None:
    """Raise ConfigError if the forward passes behind the log-probabilities in `folder` were not computed as those of training.

    The two log-probabilities of a log-ratio would then differ by the rounding of every token, at margins that ought to be 0.
    Under ZeRO both have bfloat16 weights, whoever spreads them; under autocast weights are float32, and rounding is another.

    Args:
        here: the arithmetic of the training.
    """
    there = "" if scored.environment is None else scored.environment.arithmetic
    if there and there != forward_of(here).value:
        raise ConfigError(
            f"{folder} holds reference log-probabilities that were computed in {there}, and training here computes in "
            f"{here.value}: set trainer.precision=float32, or trainer.precision and strategy alike on every machine that "
            "shares this store, or delete that folder to have the pairs scored here."
        )


def _write(
    output: Output, fitting: list[tuple[PreferencePair, Example, Example | None]], scores: list[float], too_long: int
) -> None:
    if not all(map(math.isfinite, scores)):
        raise TrainingError(
            "the reference gives a response a log-probability that is not finite: its weights are damaged, or it needs "
            "trainer.precision=float32."
        )
    logps = iter(scores)
    scored = [
        ScoredPair(
            pair=pair,
            reference_chosen_logp=None if rejected is None else next(logps),
            reference_rejected_logp=None if rejected is None else next(logps),
        )
        for pair, _, rejected in fitting
    ]
    output.write(SCORED, scored)
    pairs = sum(rejected is not None for _, _, rejected in fitting)
    output.facts.update(pairs=pairs, alone=len(fitting) - pairs, too_long=too_long)
