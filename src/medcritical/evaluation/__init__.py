"""Scoring predictions, and what a difference between two runs is worth."""

from medcritical.evaluation.scoring import accuracy_by_arity, jaccard, score_attempts
from medcritical.evaluation.statistics import (
    PairedDifference,
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    paired_bootstrap,
    pooled_bootstrap,
    wilson_interval,
)

__all__ = [
    "PairedDifference",
    "accuracy_by_arity",
    "holm",
    "jaccard",
    "mcnemar_exact",
    "minimum_detectable_difference",
    "paired_bootstrap",
    "pooled_bootstrap",
    "score_attempts",
    "wilson_interval",
]
