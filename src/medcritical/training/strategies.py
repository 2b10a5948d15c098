"""How a training is spread over ranks, as Lightning strategies: alone, DDP, or DeepSpeed's ZeRO on GPUs and CPUs alike.

DeepSpeed is imported only where a strategy needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.precision import DeepSpeedPrecision, HalfPrecision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, Strategy
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from medcritical.config.choices import StrategyKind
from medcritical.config.cluster import OFFLOADING, zero_stage
from medcritical.modeling.packed import base_model
from medcritical.training.device import LightningPrecision
from medcritical.training.ranks import Ranks


class ZeroPrecision(DeepSpeedPrecision):  # type: ignore[misc]
    """DeepSpeed's precision, without two things that Lightning adds to it.

    `bf16-mixed` is not autocast here: weights are bfloat16, and the optimizer keeps a float32 copy of them.
    """

    def convert_input(self, data: Any) -> Any:
        """The batch as it is: token ids need no conversion, and reference log-probabilities must stay float64."""
        return data

    def backward(
        self, tensor: Tensor, model: LightningModule, optimizer: Optimizer | None, *args: Any, **arguments: Any
    ) -> None:
        """Back-propagate a loss that Lightning has divided by the number of micro-batches; the engine would again."""
        engine = model.trainer.strategy.deepspeed_engine
        engine.backward(tensor, *args, scale_wrt_gas=False, **arguments)


class Bfloat16Scoring(HalfPrecision):  # type: ignore[misc]
    """Forward passes with bfloat16 weights, as DeepSpeed's engine makes them: nothing else is made bfloat16 on the way."""

    def __init__(self) -> None:
        super().__init__("bf16-true")

    def convert_input(self, data: Any) -> Any:
        """The batch as it is."""
        return data

    def forward_context(self) -> AbstractContextManager[None]:
        """No other default for new tensors."""
        return nullcontext()


class ZeroStrategy(DeepSpeedStrategy):  # type: ignore[misc]
    """Lightning's DeepSpeedStrategy, which also runs on CPUs over gloo and builds no C++ there.

    Lightning refuses a CPU in one check only (`setup_environment`). DeepSpeed takes its device's number from
    `root_device`.
    """

    def __init__(self, kind: StrategyKind, device: torch.device, precision: LightningPrecision) -> None:
        self._is_cpu = device.type == "cpu"
        _prepare_deepspeed(device)
        super().__init__(
            stage=zero_stage(kind),
            offload_optimizer=kind in OFFLOADING,
            offload_parameters=kind is StrategyKind.zero3_offload,
            precision_plugin=ZeroPrecision(precision),
            process_group_backend="gloo" if self._is_cpu else "nccl",
            exclude_frozen_parameters=True,
            logging_batch_size_per_gpu=1,
        )
        self.offloads = kind in OFFLOADING

    @property
    def root_device(self) -> torch.device:
        """The GPU, or the CPU under this rank's number: `cpu:1` is the same memory as `cpu`."""
        return torch.device("cpu", self.local_rank) if self._is_cpu else super().root_device

    def setup_environment(self) -> None:
        """As in DeepSpeedStrategy, without its refusal of CPUs."""
        if self._is_cpu:
            DDPStrategy.setup_environment(self)
        else:
            super().setup_environment()

    def setup_distributed(self) -> None:
        """As in DeepSpeedStrategy, without its check of GPU numbers."""
        if not self._is_cpu:
            super().setup_distributed()
            return
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def init_deepspeed(self) -> None:
        """As in DeepSpeedStrategy; then a cut-up output embedding stays whole from its first use to the optimizer step."""
        super().init_deepspeed()
        if self.zero_stage_3:
            keep_whole(self.lightning_module.model, self.deepspeed_engine.optimizer)


def _prepare_deepspeed(device: torch.device) -> None:
    """Before DeepSpeed does anything on a CPU: it shall look for no GPU, and compile nothing.

    It would compile a shared-memory all-reduce when it meets gloo, which takes minutes; its table of extensions that can be
    built is told that this one cannot.
    """
    if device.type != "cpu":
        return
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read at the first import of deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def keep_whole(model: nn.Module, optimizer: Any) -> None:
    """Makes ZeRO 3 gather the output embedding once in an optimizer step, not for every micro-batch, and leave it so.

    It is the largest weight by far, and whole anyway when a pass needs most memory. DeepSpeed does this by itself for
    weights that are small; they are gathered after each step, and released before the next.
    """
    head = base_model(model).get_output_embeddings()
    for weight in head.parameters():
        if not weight.ds_persist:
            weight.ds_persist = True
            optimizer.persistent_parameters.append(weight)


def build_strategy(
    kind: StrategyKind, ranks: Ranks, device: torch.device, precision: LightningPrecision
) -> Strategy | Literal["auto"]:
    """The Lightning strategy of `kind` for these ranks; "auto" for a process that is alone."""
    if zero_stage(kind):
        return ZeroStrategy(kind, device, precision)
    if kind is StrategyKind.ddp or ranks.size > 1:
        return DDPStrategy(process_group_backend="gloo" if device.type == "cpu" else "nccl")
    return "auto"


def find_engine(trainer: Trainer) -> Any | None:
    """The DeepSpeed engine that clips and steps by itself; None where Lightning does."""
    return trainer.strategy.deepspeed_engine if isinstance(trainer.strategy, DeepSpeedStrategy) else None


def offloads_optimizer(trainer: Trainer) -> bool:
    """True where the optimizer works on the CPU."""
    return isinstance(trainer.strategy, ZeroStrategy) and trainer.strategy.offloads


def sharded_loading(
    kind: StrategyKind, device: torch.device, precision: LightningPrecision
) -> AbstractContextManager[None] | None:
    """Within it `from_pretrained` gives every rank its part of the weights; None but for ZeRO 3.

    Adapters must be added after it: layers made within it are cut up before they are filled, and a LoRA whose B should
    be zero starts at random numbers.
    """
    return _zero3_loading(kind, device, precision) if zero_stage(kind) == 3 else None


@contextmanager
def _zero3_loading(kind: StrategyKind, device: torch.device, precision: LightningPrecision) -> Iterator[None]:
    _prepare_deepspeed(device)
    from transformers.integrations import HfDeepSpeedConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    zero: dict[str, Any] = {"stage": 3}
    if kind in OFFLOADING:
        zero["offload_param"] = {"device": "cpu"}
    kept = HfDeepSpeedConfig(  # transformers keeps a weak reference
        {
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": zero,
            "bf16": {"enabled": precision == "bf16-mixed"},
        }
    )
    try:
        yield
    finally:
        assert kept
        unset_hf_deepspeed_config()


def count_parameters(model: nn.Module) -> int:
    """Parameters of the whole model, also where this rank holds a part of each."""
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in model.parameters())


def gather_weights(model: nn.Module, ranks: Ranks) -> dict[str, Tensor]:
    """The trained weights by name, whole and in the optimizer's float32, on rank 0; empty on other ranks.

    Alone and under DDP they are the model's own tensors. Under ZeRO each is put together in turn and copied to the CPU of
    rank 0, which so holds the trained weights once beside its own part. All ranks must call it, before the engine is
    taken apart. Tied weights have each of their names.
    """
    gathered: dict[int, Tensor] = {}
    named = {name: p for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    for parameter in named.values():
        if id(parameter) not in gathered:
            whole = _whole(parameter)
            gathered[id(parameter)] = whole if ranks.is_first else torch.empty(0)
    return {name: gathered[id(parameter)] for name, parameter in named.items()} if ranks.is_first else {}


def _whole(parameter: Parameter) -> Tensor:
    if not (hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping")):
        return parameter.detach()
    from deepspeed.utils import safe_get_full_fp32_param

    whole: Tensor = safe_get_full_fp32_param(parameter)
    return whole.detach().to("cpu", copy=True)


def build_offloaded_adam(parameters: Sequence[Parameter], **arguments: Any) -> Optimizer:
    """DeepSpeed's AdamW for weights in the CPU's memory; compiled when it is first used (minutes)."""
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    optimizer: Optimizer = DeepSpeedCPUAdam(parameters, adamw_mode=True, **arguments)
    return optimizer
