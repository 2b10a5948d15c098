"""Scoring predictions, and what a difference between two runs is worth."""

from medcritical.evaluation.agreement import agreement_of, measure_agreement
from medcritical.evaluation.scoring import jaccard, score_attempts
from medcritical.evaluation.statistics import (
    PairedDifference,
    accuracy_interval,
    holm,
    paired_difference,
    wilson_interval,
)

__all__ = [
    "PairedDifference",
    "accuracy_interval",
    "agreement_of",
    "holm",
    "jaccard",
    "measure_agreement",
    "paired_difference",
    "score_attempts",
    "wilson_interval",
]
