"""How long a training goes on: as configured, or until it equals the arm that it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from medcritical.batching import Example, PairExample, num_steps
from medcritical.config.choices import Match
from medcritical.config.schema import OptimConfig
from medcritical.errors import TrainingError
from medcritical.stages.context import Inputs


def matched_steps(match: Match, optim: OptimConfig, examples: Sequence[Example | PairExample], inputs: Inputs) -> int:
    """Optimizer steps: as configured, or as many as make this training equal to its target.

    Equal seconds means as many tokens as the target would have trained on in the time that its training and its reference
    scoring took together, less the time of one's own reference scoring, at the rate the target was measured to train at.

    Raises:
        TrainingError: one's own reference scoring took all of that time.
    """
    if match is Match.steps or "target" not in inputs:
        return num_steps(len(examples), optim.batch_size, optim.epochs, optim.steps)
    target = inputs.manifest("target").facts
    tokens = float(target["trained_tokens"])
    if match is Match.seconds:
        seconds = target["train_seconds"] + _seconds(inputs, "target_reference") - _seconds(inputs, "scored")
        if seconds <= 0:
            raise TrainingError(
                "scoring the reference took longer than the whole training of the arm that this one is to equal in "
                "seconds: choose compare.at=tokens or compare.at=steps."
            )
        tokens *= seconds / target["train_seconds"]
    return max(1, round(tokens / (optim.batch_size * fmean(map(num_tokens, examples)))))


def match_facts(match: Match, inputs: Inputs) -> dict[str, Any]:
    """In what a training was made equal; for seconds also the device that its target's were counted on (`timed_on`)."""
    facts: dict[str, Any] = {"match": match.value}
    if match is Match.seconds and "target" in inputs:
        environment = inputs.manifest("target").environment
        facts["timed_on"] = ", ".join(environment.devices if environment else ()) or "an unknown device"
    return facts


def num_tokens(example: Example | PairExample) -> int:
    """Tokens that training forwards for one example: the prompt goes with each of a pair's responses."""
    if isinstance(example, Example):
        return example.length
    rejected = 0 if example.rejected_ids is None else len(example.prompt_ids) + len(example.rejected_ids)
    return len(example.prompt_ids) + len(example.chosen_ids) + rejected


def with_warmup(optim: OptimConfig, steps: int) -> OptimConfig:
    """The optimisation with its warm-up in steps, for a training of this many."""
    if not optim.warmup_share:
        return optim
    return dataclasses.replace(optim, warmup_steps=round(optim.warmup_share * steps))


def _seconds(inputs: Inputs, role: str) -> float:
    return inputs.manifest(role).costs.seconds if role in inputs else 0.0
