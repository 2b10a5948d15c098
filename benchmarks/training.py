"""`train_sft` and `train_dpo`, which run on Lightning and packed rows, against a plain torch loop over padded ones.

    python benchmarks/training.py [--turns N] [--only CASE ...]

The loop takes the same examples per step, losses, optimizer and learning rates and must end at the same weights: what is
measured is what packing saves, less what Lightning, the metric rows and the checks cost, set-up included.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from clinic import Clinic, open_clinic
from command import run_contests
from measure import Contest, Work
from medcritical.batching import (
    Batch,
    collate_examples,
    collate_pairs,
    pad_rows,
    step_batches,
)
from medcritical.batching.examples import AnyExample, prompt_key
from medcritical.batching.micro import MicroBatches, cut_by_examples
from medcritical.config.schema import OptimConfig
from medcritical.errors import MedCriticalError
from medcritical.objectives import completion_loss, dpo_loss, sequence_logps, sequence_nll
from medcritical.training import train_dpo, train_sft
from medcritical.training.data import MicroBatch, micro_batches
from medcritical.training.optim import build_adamw, rate_at

SFT_STEPS, DPO_STEPS = 40, 12
LARGEST_DIFFERENCE = 1e-4  # between two weights after training; more is no rounding, but other work

Train = Callable[[nn.Module], int]
"""Changes a model in place and returns the tokens it was trained on."""


def main() -> None:
    """Measure stage 1 and preference training."""
    clinic = cache(open_clinic)
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "metrics.jsonl"
        contests = {
            "clinic_sft": lambda: _sft_contest(clinic(), metrics),
            "clinic_dpo": lambda: _dpo_contest(clinic(), metrics),
        }
        run_contests(__file__, __doc__ or "", contests)


def _sft_contest(clinic: Clinic, metrics: Path) -> Contest:
    optim: OptimConfig = replace(clinic.config.sft, epochs=None, steps=SFT_STEPS)
    examples = clinic.examples(clinic.train)
    micros = micro_batches(
        examples, _order(clinic, examples, optim, SFT_STEPS), lambda step: sum(len(item.response_ids) for item in step)
    )

    def ours(model: nn.Module) -> int:
        return train_sft(
            model,
            clinic.pad_id,
            examples,
            optim,
            clinic.config.trainer,
            steps=SFT_STEPS,
            seed=0,
            metrics_path=metrics,
            on_progress=lambda *progress: None,
        ).trained_tokens

    def loss(model: nn.Module, batch: Any) -> Tensor:
        sums_B, _ = sequence_logps(
            model(input_ids=batch.rows.input_ids_RT, use_cache=False).logits, batch.rows.labels_RT
        )
        return completion_loss(sums_B, num_tokens=batch.normaliser)

    def theirs(model: nn.Module) -> int:
        return train_plainly(model, optim, SFT_STEPS, micros, collate_examples, clinic.pad_id, loss)

    return _contest(f"tiny student: SFT, {SFT_STEPS} steps of {optim.batch_size}", clinic, ours, theirs)


def _dpo_contest(clinic: Clinic, metrics: Path) -> Contest:
    config = clinic.config
    optim: OptimConfig = replace(config.dpo, epochs=None, steps=DPO_STEPS)
    pairs = clinic.pairs(clinic.train)
    micros = micro_batches(pairs, _order(clinic, pairs, optim, DPO_STEPS), len)

    def ours(model: nn.Module) -> int:
        return train_dpo(
            model,
            clinic.pad_id,
            pairs,
            optim,
            config.trainer,
            beta=config.selfplay.beta,
            nll_weight=config.dpo.nll_weight,
            loss=config.dpo,
            contrast=True,
            starts_at_reference=True,
            steps=DPO_STEPS,
            seed=0,
            metrics_path=metrics,
            on_progress=lambda *progress: None,
        ).trained_tokens

    def loss(model: nn.Module, batch: Any) -> Tensor:
        logits = model(input_ids=batch.rows.input_ids_RT, use_cache=False).logits
        sums_R, counts_R = sequence_logps(logits, batch.rows.labels_RT)
        chosen_B, rejected_B = sums_R.chunk(2)
        references = batch.reference_chosen_logps_C, batch.reference_rejected_logps_C
        chosen_lengths_B, rejected_lengths_B = counts_R.chunk(2)
        preference = dpo_loss(
            chosen_B,
            rejected_B,
            *references,
            chosen_lengths=chosen_lengths_B,
            rejected_lengths=rejected_lengths_B,
            beta=config.selfplay.beta,
            config=config.dpo,
        ).losses_B
        nll_B = sequence_nll(chosen_B, chosen_lengths_B)
        total: Tensor = (preference + config.dpo.nll_weight * nll_B).sum() / batch.normaliser
        return total

    def theirs(model: nn.Module) -> int:
        return train_plainly(model, optim, DPO_STEPS, micros, collate_pairs, clinic.pad_id, loss)

    return _contest(f"tiny student: DPO, {DPO_STEPS} steps of {optim.batch_size} pairs", clinic, ours, theirs)


def train_plainly(
    model: nn.Module,
    optim: OptimConfig,
    steps: int,
    micros: Sequence[MicroBatch[Any]],
    collate: Callable[..., Batch],
    pad_id: int,
    loss_of: Callable[[nn.Module, Any], Tensor],
) -> int:
    """The training loop as one would write it by hand; tokens trained on."""
    model.train()
    optimizer = build_adamw(list(model.parameters()), optim)
    num_tokens = 0
    for number, micro in enumerate(micros, start=1):
        batch = collate(micro.examples, layout=partial(pad_rows, pad_id=pad_id), normaliser=micro.normaliser)
        loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
        num_tokens += batch.num_tokens
        step, rest = divmod(number, len(micros) // steps)
        if rest == 0:
            rate = rate_at(step - 1, steps, optim.warmup_steps, optim.final_rate, optim.schedule)
            optimizer.param_groups[0]["lr"] = optim.learning_rate * rate
            nn.utils.clip_grad_norm_(model.parameters(), optim.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    return num_tokens


def _order(clinic: Clinic, examples: Sequence[AnyExample], optim: OptimConfig, steps: int) -> MicroBatches:
    prompts = [prompt_key(example) for example in examples]
    batches = step_batches(prompts, batch_size=optim.batch_size, steps=steps, seed=0)
    return cut_by_examples(batches, examples, clinic.config.trainer.micro_batch_size)


def _contest(name: str, clinic: Clinic, ours: Train, theirs: Train) -> Contest:
    """Both on copies of the student, once it is certain that they train it alike."""
    student = clinic.student.model
    mine, other = copy.deepcopy(student), copy.deepcopy(student)
    if ours(mine) != theirs(other):
        raise MedCriticalError(f"{name}: the two sides did not train on the same tokens")
    weights = zip(mine.parameters(), other.parameters(), strict=True)
    largest = max((one - two).detach().abs().max().item() for one, two in weights)
    if largest > LARGEST_DIFFERENCE:
        raise MedCriticalError(f"{name}: after training, weights differ by up to {largest:.1e}: other work")

    def side(train: Train) -> Work:
        return lambda: train(copy.deepcopy(student))

    return Contest(
        name,
        "plain torch loop",
        ours=lambda: side(ours),
        theirs=lambda: side(theirs),
        note=lambda: f"after training, weights of both differ by at most {largest:g}",
    )


if __name__ == "__main__":
    main()
