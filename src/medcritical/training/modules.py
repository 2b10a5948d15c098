"""What one optimizer step computes: forward, objective, values to average. Lightning does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from medcritical.batching import Batch, PackedRow, PairBatch, SftBatch
from medcritical.config.choices import Length
from medcritical.config.schema import LossConfig, OptimConfig
from medcritical.errors import TrainingError
from medcritical.modeling.packed import response_logps
from medcritical.objectives import completion_loss, dpo_loss, sequence_logps, sequence_nll, sigmoid_loss
from medcritical.training.health import START_TOLERANCE, check_starts_at_reference, is_rounding
from medcritical.training.optim import build_adamw, rate_at
from medcritical.training.ranks import sum_over_ranks
from medcritical.training.strategies import find_engine, offloads_optimizer


class ScoringModule(LightningModule):  # type: ignore[misc]
    """A causal language model that gives responses their log-probability."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def response_logps(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats summed over response tokens, and response tokens, of the batch's sequences: each of shape (S,)."""
        rows = batch.rows
        if isinstance(rows, PackedRow):
            return response_logps(self.model, rows)
        return sequence_logps(self.model(input_ids=rows.input_ids_RT, use_cache=False).logits, rows.labels_RT)

    def predict_step(self, batch: SftBatch, batch_index: int) -> Tensor:
        """Log-probabilities of the examples' responses, nats, shape (B,)."""
        return self.response_logps(batch)[0][batch.learned_B]


def _leave_frozen_out(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Takes frozen weights out of a state: they are those of the model that training started from.

    DeepSpeed can do that itself, but leaves a tied weight in by its second name: a head as large as all embeddings.
    """
    for name, weight in module.named_parameters(prefix.rstrip("."), remove_duplicate=False):
        if not weight.requires_grad:
            state.pop(name, None)


class TrainingModule(ScoringModule):
    """Base of the two trainings. A subclass says what a micro-batch adds to the loss of its optimizer step.

    Attributes:
        num_tokens: tokens that this rank has forwarded so far and that were no padding.
    """

    strict_loading = False  # a checkpoint holds the trained weights alone

    def __init__(self, model: nn.Module, optim: OptimConfig, num_steps: int) -> None:
        super().__init__(model)
        self.optim = optim
        self.num_steps = num_steps
        self.num_tokens = 0
        self.register_state_dict_post_hook(_leave_frozen_out)
        self._losses: list[Tensor] = []
        self._values: dict[str, list[Tensor]] = {}
        self._learning_rate = 0.0
        self._grad_norm = torch.zeros(())

    def objective(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The micro-batch's share of the step's loss, and named vectors whose means over the step are logged."""
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss to back-propagate: shares of one optimizer step add up to its loss."""
        loss, values = self.objective(batch)
        self.num_tokens += batch.num_tokens
        self._losses.append(loss.detach())
        for name, vector in values.items():
            self._values.setdefault(name, []).append(vector.detach())
        # Lightning divides by micro-batches and ranks average their gradients, both taking losses for means; ours are
        # divided by the normaliser of the whole step already.
        num_micro_batches: int = self.trainer.accumulate_grad_batches * self.trainer.world_size
        return loss * num_micro_batches

    def means_of(self, names: Sequence[str]) -> tuple[dict[str, float], float, float]:
        """Means of values over this optimizer step so far on all ranks, its loss, and tokens trained so far.

        A value that no micro-batch had is left out. All ranks must call it.
        """
        local = [torch.stack(self._losses).sum().item(), float(self.num_tokens)]
        for name in names:
            vector = torch.cat(self._values[name])
            local += [vector.double().sum().item(), float(len(vector))]
        loss, tokens, *rest = sum_over_ranks(local)
        sums = zip(names, rest[::2], rest[1::2], strict=True)
        return {name: total / count for name, total, count in sums if count}, loss, tokens

    def step_metrics(self) -> dict[str, float]:
        """Metrics of the optimizer step just done, over all of its micro-batches on all ranks, which all must ask."""
        means, loss, tokens = self.means_of(list(self._values))
        engine = find_engine(self.trainer)
        grad_norm = self._grad_norm if engine is None else engine.get_global_grad_norm()
        return {
            "train/loss": loss,
            **{f"train/{name}": mean for name, mean in means.items()},
            "train/learning_rate": self._learning_rate,
            "train/grad_norm": float(grad_norm),
            "tokens": int(tokens),
        }

    @property
    def is_step_complete(self) -> bool:
        """True when all micro-batches of the optimizer step are forwarded: DeepSpeed calls its hooks after each."""
        num_micro_batches: int = self.trainer.accumulate_grad_batches
        return len(self._losses) == num_micro_batches

    def forget_step(self) -> None:
        """Drops the values of the optimizer step just done."""
        self._losses.clear()
        self._values.clear()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Notes the rate this step is taken with."""
        self._learning_rate = optimizer.param_groups[0]["lr"]

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float, gradient_clip_algorithm: str
    ) -> None:
        """Clips by norm, and keeps the norm before clipping, which Lightning's own clipping throws away.

        DeepSpeed clips inside its own step and says the norm after it.
        """
        if find_engine(self.trainer) is not None:
            return
        parameters = optimizer.param_groups[0]["params"]
        self._grad_norm = nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW over the trainable parameters, its rate set every optimizer step."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if not parameters:
            raise TrainingError(
                "The model has no trainable parameter; unfreeze it or give it an adapter (student.lora)."
            )
        optim = self.optim
        optimizer = build_adamw(parameters, optim, offloaded=offloads_optimizer(self.trainer))
        rates = LambdaLR(
            optimizer,
            lambda step: rate_at(step, self.num_steps, optim.warmup_steps, optim.final_rate, optim.schedule),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}


class SftModule(TrainingModule):
    """Supervised fine-tuning: mean cross entropy of the step's response tokens."""

    def objective(self, batch: SftBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Cross entropy, nats; normalised by the response tokens of the step."""
        sums_B, counts_B = (of_S[batch.learned_B] for of_S in self.response_logps(batch))
        return completion_loss(sums_B, num_tokens=batch.normaliser), {"nll": sequence_nll(sums_B, counts_B)}


class DpoModule(TrainingModule):
    """Preference loss plus weighted NLL on chosen; normalised by the examples of the step, each by its weight.

    Examples without a rejected response add no preference loss but do count in the normaliser. Metrics are plain means.

    Args:
        starts_at_reference: the first margins must be 0, whatever the loss; checked before any weight changes.
    """

    def __init__(
        self,
        model: nn.Module,
        optim: OptimConfig,
        num_steps: int,
        *,
        beta: float,
        nll_weight: float,
        loss: LossConfig,
        starts_at_reference: bool,
    ) -> None:
        super().__init__(model, optim, num_steps)
        self.beta = beta
        self.nll_weight = nll_weight
        self.loss = loss
        self.starts_at_reference = starts_at_reference
        self._variances: list[Tensor] = []

    def objective(self, batch: PairBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """(sum of preference losses + nll_weight * sum of per-token NLL of chosen) / examples per step, all by weight."""
        logps_S, lengths_S = self.response_logps(batch)
        chosen_B, rejected_C = logps_S[batch.chosen_B], logps_S[batch.rejected_C]
        lengths_B = lengths_S[batch.chosen_B]
        nll_B = sequence_nll(chosen_B, lengths_B)
        pairs = dpo_loss(
            chosen_B[batch.contrasted_C],
            rejected_C,
            batch.reference_chosen_logps_C,
            batch.reference_rejected_logps_C,
            chosen_lengths=lengths_B[batch.contrasted_C],
            rejected_lengths=lengths_S[batch.rejected_C],
            beta=self.beta,
            config=self.loss,
        )
        if self.starts_at_reference:
            self._variances.append(self._margin_variances(lengths_B[batch.contrasted_C], lengths_S[batch.rejected_C]))
        margins_C = pairs.chosen_rewards_B - pairs.rejected_rewards_B
        values = {
            "nll": nll_B,
            "chosen_logp": chosen_B,
            "chosen_log_ratio": pairs.chosen_log_ratios_B / lengths_B[batch.contrasted_C],
            "preference_loss": pairs.losses_B,
            "rejected_logp": rejected_C,
            "chosen_reward": pairs.chosen_rewards_B,
            "rejected_reward": pairs.rejected_rewards_B,
            "margin": margins_C,
            "reward_accuracy": (margins_C.sign().double() + 1) / 2,  # a tie, as at the start, is half right
        }
        preference = _weighted_sum(pairs.losses_B, batch.weights_B[batch.contrasted_C])
        return (preference + self.nll_weight * _weighted_sum(nll_B, batch.weights_B)) / batch.normaliser, values

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Before any weight changes, holds the sigmoid loss of the first margins, whichever is trained, against ln 2.

        In bfloat16 margins of long responses are off 0 by rounding alone, and pass.
        """
        super().on_before_optimizer_step(optimizer)
        if not (self.starts_at_reference and self.trainer.global_step == 0 and self.is_step_complete):
            return
        margins_C, precision = torch.cat(self._values["margin"]).double(), self.trainer.precision
        losses_C = sigmoid_loss(margins_C, beta=1.0)  # margins have their beta already
        local = [vector.double().sum().item() for vector in (losses_C, margins_C**2, torch.cat(self._variances))]
        loss, square, variance, count = sum_over_ranks([*local, float(len(margins_C))])
        if count and not is_rounding(precision, square / count, variance / count, int(count)):
            check_starts_at_reference(loss / count, START_TOLERANCE[precision])

    def forget_step(self) -> None:
        """Drops the values of the optimizer step just done."""
        super().forget_step()
        self._variances.clear()

    def _margin_variances(self, chosen_lengths_C: Tensor, rejected_lengths_C: Tensor) -> Tensor:
        """Of each pair's margin, if every token's log-probability had a variance of 1 by itself: then that of a response's sum
        is its length, and that of its mean the inverse."""
        lengths_2C = torch.stack([chosen_lengths_C, rejected_lengths_C]).double()
        variances_2C = lengths_2C.reciprocal() if self.loss.length is Length.mean else lengths_2C
        return self.beta**2 * variances_2C.sum(0)


def _weighted_sum(losses_B: Tensor, weights_B: Tensor) -> Tensor:
    return (weights_B.to(losses_B.dtype) * losses_B).sum()


def disable_dropout(model: nn.Module) -> int:
    """Sets every dropout probability of `model` to 0; returns how many were above it.

    The reference log-probabilities are computed without dropout, so a policy with dropout would not start at its
    reference. Dropout layers and the plain numbers that attention layers hand to their kernels are both covered.
    """
    changed = 0
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            module.p, changed = 0.0, changed + 1
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float) and value > 0:
                setattr(module, name, 0.0)
                changed += 1
    return changed
