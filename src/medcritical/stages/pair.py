"""pair: attempts and corrections -> `pairs.jsonl` and the pair-quality report."""

from __future__ import annotations

from random import Random

from medcritical.config.stages import PairStage
from medcritical.errors import TrainingError
from medcritical.records import Attempt, Correction
from medcritical.selfplay.pairing import make_pairs
from medcritical.selfplay.quality import pair_quality
from medcritical.selfplay.trials import trials_of
from medcritical.stages.context import Inputs, Output
from medcritical.stages.play import ATTEMPTS, CORRECTIONS
from medcritical.store import read_records, write_json, write_records

PAIRS, QUALITY = "pairs.jsonl", "quality.json"


def run(config: PairStage, inputs: Inputs, output: Output) -> None:
    """Write one item per solved question. Raises TrainingError when no question was solved in any way."""
    trials = trials_of(
        read_records(inputs["play"] / ATTEMPTS, Attempt), read_records(inputs["play"] / CORRECTIONS, Correction)
    )
    pairs, counts = make_pairs(trials, fallback=config.fallback, rng=Random(config.seed))
    quality = pair_quality(trials, pairs, counts)
    if not pairs:
        raise TrainingError(
            f"no pair to train on: none of {len(trials)} questions has a verified answer in the template's form "
            f"({quality['malformed_attempts']} attempts were malformed): train stage 1 longer or raise selfplay.attempts."
        )
    write_records(output.folder / PAIRS, pairs)
    write_json(output.folder / QUALITY, quality)
    output.facts.update(quality)
    output.facts["shown"] = [f"{quality['pairs']} pairs, {quality['chosen_alone']} chosen alone"]
