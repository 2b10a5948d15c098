"""Scores of attempts, and the statistics that say what a difference between scores is worth."""

from medcritical.evaluation.scoring import accuracy_by_arity, jaccard, score_attempts
from medcritical.evaluation.statistics import (
    PairedDifference,
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    paired_bootstrap,
    paired_bootstrap_over_seeds,
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
    "paired_bootstrap_over_seeds",
    "score_attempts",
    "wilson_interval",
]
