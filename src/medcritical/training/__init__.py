"""Training and scoring of a causal language model on token ids, through Lightning."""

from medcritical.training.run import TrainingResult, score_responses, train_dpo, train_sft

__all__ = ["TrainingResult", "score_responses", "train_dpo", "train_sft"]
