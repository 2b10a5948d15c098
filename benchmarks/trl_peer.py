"""TRL's side: its DPOTrainer and SFTTrainer with our tokens, optimizer, numbers and initial adapter.

Its defaults that would decide a comparison by themselves are set alike on both sides: float32 unless the case says
bfloat16 (TRL's default, emulated on most CPUs), and no gradient checkpointing (TRL's default is to recompute).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from medcritical.batching import Example
from medcritical.config.choices import Precision
from medcritical.modeling.checkpoint import Student
from medcritical.objectives.logprobs import IGNORED
from sides import SEED, Recipe
from workload import Group

disable_progress_bars()


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """Takes token ids as they are; TRL would look for text to tokenise."""

    def _prepare_dataset(self, dataset: Dataset, *arguments: object) -> Dataset:
        return dataset


def trl_dpo(student: Student, groups: Sequence[Group], recipe: Recipe, *, initial: Any = None, **settings: Any) -> Any:
    """A DPOTrainer over the pairs of `groups`, which takes `student.model` for its own; `settings` go to its DPOConfig.

    `initial` is our model with adapters, whose weights it starts from.
    """
    rows = [
        {"prompt_ids": group.prompt_ids, "chosen_ids": group.chosen_ids, "rejected_ids": ids}
        for group in groups
        for ids in group.rejected_ids
    ]
    arguments = DPOConfig(beta=recipe.beta, max_length=None, **_arguments(recipe), **settings)
    return _build(TokenizedDPOTrainer, student, recipe, arguments, rows, initial)


def trl_sft(
    student: Student, examples: Sequence[Example], recipe: Recipe, *, initial: Any = None, **settings: Any
) -> Any:
    """An SFTTrainer over `examples` whose loss is on responses alone; otherwise as `trl_dpo`."""
    rows = [
        {
            "input_ids": [*one.prompt_ids, *one.response_ids],
            "labels": [*[IGNORED] * len(one.prompt_ids), *one.response_ids],
        }
        for one in examples
    ]
    arguments = SFTConfig(**_arguments(recipe), **settings)
    return _build(SFTTrainer, student, recipe, arguments, rows, initial)


def _arguments(recipe: Recipe) -> dict[str, Any]:
    return {
        "output_dir": tempfile.gettempdir(),  # named, but nothing is saved
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "per_device_train_batch_size": recipe.micro,
        "gradient_accumulation_steps": -(-recipe.batch_size // recipe.micro),
        "max_steps": recipe.steps,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "adam_beta1": recipe.adam_beta1,
        "adam_beta2": recipe.adam_beta2,
        "adam_epsilon": recipe.adam_epsilon,
        "optim": "adamw_torch_fused",
        "max_grad_norm": 1.0,
        "train_sampling_strategy": "sequential" if recipe.is_ordered else "random",
        "use_cpu": not recipe.is_cuda,
        "bf16": recipe.precision is Precision.bfloat16,
        "gradient_checkpointing": recipe.is_checkpointed,
        "seed": SEED,
    }


def _build(
    kind: type[Any], student: Student, recipe: Recipe, arguments: Any, rows: list[dict[str, Any]], initial: Any
) -> Any:
    lora = recipe.lora
    adapter = (
        None
        if lora is None
        else LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM")
    )
    trainer = kind(
        model=student.model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=student.tokenizer,
        peft_config=adapter,
    )
    if initial is not None:
        with torch.no_grad():
            set_peft_model_state_dict(trainer.model, get_peft_model_state_dict(initial))
    return trainer
