"""Scoring predictions, and what a difference between two runs is worth."""

from medcritical.evaluation.scoring import score_attempts

__all__ = ["score_attempts"]
