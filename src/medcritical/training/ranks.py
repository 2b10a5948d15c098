"""The ranks of one stage: who they are, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from medcritical.errors import ConfigError

T = TypeVar("T")

_PATIENCE = timedelta(days=365)


@dataclass(frozen=True)
class Ranks:
    """This process among those that make an artefact together.

    Attributes:
        rank: its number, from 0; rank 0 writes and reports.
        size: how many there are, on all machines.
        local_rank: its number on this machine: the GPU it has.
        local_size: how many there are on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """True for the rank that writes and reports."""
        return self.rank == 0

    @property
    def num_nodes(self) -> int:
        """Machines, each with as many ranks as this one."""
        return self.size // self.local_size


ALONE = Ranks()


def current_ranks() -> Ranks:
    """What torchrun, or srun in its place, has told this process; `ALONE` where nobody has."""
    if not dist.is_torchelastic_launched():
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Ranks(*(int(os.environ[name]) for name in names))


def join_ranks(device: torch.device, timeout_seconds: float) -> Ranks:
    """Meet the other ranks, once per process: over NCCL on GPUs, over gloo on CPUs. Alone there is nobody to meet.

    Args:
        timeout_seconds: longest that any later exchange waits for a rank before it raises.

    Raises:
        ConfigError: this machine has fewer GPUs than ranks.
    """
    if not dist.is_torchelastic_launched():
        return ALONE
    ranks, is_gpu = current_ranks(), device.type == "cuda"
    if is_gpu:
        take_gpu(ranks)
    if not dist.is_initialized():
        timeout = timedelta(seconds=timeout_seconds)
        # DeepSpeed trains in groups that it makes without a timeout, and theirs would be 30 minutes (NCCL: 10).
        for name in ("default_pg_timeout", "default_pg_nccl_timeout"):
            setattr(dist.distributed_c10d, name, timeout)
        dist.init_process_group(
            "nccl" if is_gpu else "gloo",
            timeout=timeout,
            device_id=torch.device("cuda", ranks.local_rank) if is_gpu else None,
        )
    return ranks


def take_gpu(ranks: Ranks) -> None:
    """Make this rank's GPU the one that "cuda" means. Raises ConfigError when this machine has fewer GPUs than ranks."""
    if torch.cuda.device_count() < ranks.local_size:
        raise ConfigError(
            f"cluster.nproc_per_node={ranks.local_size}, but torch sees {torch.cuda.device_count()} GPUs on this machine: "
            "start as many ranks as there are GPUs, or set trainer.accelerator=cpu."
        )
    torch.cuda.set_device(ranks.local_rank)


def leave_ranks() -> None:
    """Close the connections to the other ranks, when all have done their work."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        _patient_group.cache_clear()


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Every value summed over all ranks, in float64. All ranks must call it with as many values."""
    if not dist.is_initialized():
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=_exchange_device())
    dist.all_reduce(total)
    return [float(value) for value in total.tolist()]


def largest_over_ranks(value: int) -> int:
    """The largest value that any rank has; all ranks must call it."""
    if not dist.is_initialized():
        return value
    largest = torch.tensor([value], device=_exchange_device())
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest.item())


def from_first_rank(value: T) -> T:
    """The value that rank 0 has; all ranks must call it."""
    if not dist.is_initialized():
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box)
    first: T = box[0]
    return first


def gather_over_ranks(value: T) -> list[T]:
    """What every rank has, in their order; all ranks must call it."""
    if not dist.is_initialized():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def deal_to_ranks(values: Sequence[T] | None) -> T:
    """What rank 0 has for this rank; all ranks must call it, the others with None.

    They wait as long as it takes, for rank 0 may be asking a judge; when it dies they hear of it. CPUs only (gloo).
    """
    if not dist.is_initialized():
        assert values is not None
        return values[0]
    box: list[Any] = [None]
    dist.scatter_object_list(box, None if values is None else list(values), group=_patient_group())
    dealt: T = box[0]
    return dealt


@cache
def _patient_group() -> dist.ProcessGroup:
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=_PATIENCE)
    return group


def meet_ranks(timeout_seconds: float) -> None:
    """Go on when all ranks are here. CPUs only (gloo). Raises RuntimeError that names a rank which is not in time."""
    if dist.is_initialized():
        dist.monitored_barrier(timeout=timedelta(seconds=timeout_seconds))


def wait_for_ranks() -> None:
    """Go on when all ranks are here."""
    if dist.is_initialized():
        dist.barrier()


def _exchange_device() -> torch.device:
    is_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if is_gpu else torch.device("cpu")


def seed_of_rank(seed: int, ranks: Ranks) -> int:
    """The seed of this rank's own random numbers (dropout); rank 0 has that of a process alone."""
    return seed + ranks.rank
