"""What both training stages put into their manifest."""

from __future__ import annotations

from typing import Any

from medcritical.stages.context import Output
from medcritical.training.run import TrainingResult


def record_training(output: Output, result: TrainingResult, **facts: Any) -> None:
    """Steps, tokens, seconds, last metrics and alarms as facts."""
    output.facts.update(facts)
    output.facts["steps"] = result.steps
    output.facts["trained_tokens"] = result.trained_tokens
    output.facts["train_seconds"] = round(result.seconds, 3)
    output.facts["metrics"] = result.metrics
    output.facts["alarms"] = list(result.alarms)
    rate = result.trained_tokens / max(result.seconds, 1e-9)
    output.facts["shown"] = [
        f"{result.steps} steps",
        f"loss {result.metrics['train/loss']:.4f}",
        f"{rate:,.0f} tokens/s",
    ]
