"""Our side of every training case, and the recipe that both sides follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from medcritical.batching import Example, PairExample
from medcritical.config.choices import Accelerator, Precision, Schedule
from medcritical.config.schema import Config, LoraConfig, OptimConfig, TrainerConfig
from medcritical.modeling.checkpoint import Student
from medcritical.modeling.lora import add_lora
from medcritical.training import TrainingResult, score_responses, train_dpo, train_sft
from workload import Group

SEED = 0


@dataclass(frozen=True)
class Recipe:
    """One training as both sides run it: `steps` optimizer steps of `batch_size` pairs or examples.

    `micro` is TRL's batch of one forward pass; ours makes its own. `is_ordered`: TRL takes the data in
    the order given. `is_checkpointed`: TRL recomputes activations.
    """

    lora: LoraConfig | None
    batch_size: int
    steps: int
    micro: int
    learning_rate: float = 1e-5
    beta: float = 0.1
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    adam_epsilon: float = 1e-8
    precision: Precision = Precision.float32
    is_cuda: bool = False
    is_ordered: bool = False
    is_checkpointed: bool = False

    def optim(self, config: OptimConfig) -> OptimConfig:
        """Our optimisation, with everything that TRL would do otherwise said."""
        return replace(
            config,
            learning_rate=self.learning_rate,
            schedule=Schedule.constant,
            warmup_steps=0,
            final_rate=1.0,
            batch_size=self.batch_size,
            epochs=None,
            steps=self.steps,
            adam_beta1=self.adam_beta1,
            adam_beta2=self.adam_beta2,
            adam_epsilon=self.adam_epsilon,
        )

    def trainer(self, config: TrainerConfig) -> TrainerConfig:
        """Our trainer on the recipe's device, in its numbers."""
        accelerator = Accelerator.gpu if self.is_cuda else Accelerator.cpu
        return replace(config, accelerator=accelerator, precision=self.precision)

    def model(self, student: Student) -> Any:
        """The student, with the fresh adapter that both sides start from."""
        return student.model if self.lora is None else add_lora(student.model, self.lora, SEED)


def score_groups(config: Config, student: Student, groups: Sequence[Group], recipe: Recipe) -> list[PairExample]:
    """The pairs of `groups`, with their reference log-probabilities under `student` as it is."""
    examples = [Example(group.prompt_ids, ids) for group in groups for ids in (group.chosen_ids, *group.rejected_ids)]
    logps = iter(
        score_responses(
            student.model, student.tokenizer.pad_token_id, examples, recipe.trainer(config.trainer), _say_nothing
        )
    )
    pairs = []
    for group in groups:
        chosen_logp = next(logps)
        pairs += [
            PairExample(group.prompt_ids, group.chosen_ids, ids, chosen_logp, next(logps)) for ids in group.rejected_ids
        ]
    return pairs


def our_dpo(
    config: Config, model: nn.Module, pad_id: int, pairs: Sequence[PairExample], recipe: Recipe, metrics: Path
) -> TrainingResult:
    """DPO alone, without the NLL term, which TRL's default has not; a row per step into `metrics`."""
    return train_dpo(
        model,
        pad_id,
        pairs,
        recipe.optim(config.dpo),
        recipe.trainer(config.trainer),
        beta=recipe.beta,
        nll_weight=0.0,
        loss=config.dpo,
        contrast=True,
        starts_at_reference=False,  # the same model is trained turn after turn
        steps=recipe.steps,
        seed=SEED,
        metrics_path=metrics,
        on_progress=_say_nothing,
    )


def our_sft(
    config: Config, model: nn.Module, pad_id: int, examples: Sequence[Example], recipe: Recipe, metrics: Path
) -> TrainingResult:
    """Supervised fine-tuning on responses; a row per step into `metrics`."""
    return train_sft(
        model,
        pad_id,
        examples,
        recipe.optim(config.sft),
        recipe.trainer(config.trainer),
        steps=recipe.steps,
        seed=SEED,
        metrics_path=metrics,
        on_progress=_say_nothing,
    )


def _say_nothing(*progress: object) -> None:
    pass
