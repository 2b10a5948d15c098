"""Scoring predictions, and what a difference between two runs is worth."""

from medcritical.evaluation.agreement import agreement_of, measure_agreement
from medcritical.evaluation.scoring import jaccard, score_attempts
from medcritical.evaluation.statistics import (
    PairedDifference,
    holm,
    mcnemar_exact,
    mcnemar_pooled,
    minimum_detectable_difference,
    paired_bootstrap,
    pooled_bootstrap,
    wilson_interval,
)

__all__ = [
    "PairedDifference",
    "agreement_of",
    "holm",
    "jaccard",
    "mcnemar_exact",
    "mcnemar_pooled",
    "measure_agreement",
    "minimum_detectable_difference",
    "paired_bootstrap",
    "pooled_bootstrap",
    "score_attempts",
    "wilson_interval",
]
