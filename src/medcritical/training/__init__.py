"""Training and scoring of a causal language model on token ids, through Lightning."""

from medcritical.training.run import TrainingResult, score_responses, train_dpo, train_sft
from medcritical.training.trainer import Launch

__all__ = ["Launch", "TrainingResult", "score_responses", "train_dpo", "train_sft"]
