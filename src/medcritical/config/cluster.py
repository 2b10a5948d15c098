"""Contradictions between the number of ranks, how they are started and what they share."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medcritical.config.choices import Arithmetic, ClusterKind, Precision, StrategyKind
from medcritical.config.schema import Config

ZERO_STAGES = {
    StrategyKind.zero1: 1,
    StrategyKind.zero2: 2,
    StrategyKind.zero3: 3,
    StrategyKind.zero2_offload: 2,
    StrategyKind.zero3_offload: 3,
}
"""Stage of ZeRO of the strategies that are DeepSpeed's."""

_LAUNCHER_VARIABLES = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip

LAST_PORT = 65_535 - 99

OFFLOADING = (StrategyKind.zero2_offload, StrategyKind.zero3_offload)


def zero_stage(kind: StrategyKind) -> int:
    """Stage of ZeRO; 0 without DeepSpeed."""
    return ZERO_STAGES.get(kind, 0)


def stated_arithmetic(precision: Precision, strategy: StrategyKind) -> Arithmetic | None:
    """What trainings and reference scores are computed in as far as the configuration says; None for `auto`.

    ZeRO trains bfloat16 weights where the other strategies keep float32 ones and narrow the arithmetic.
    """
    if precision is Precision.auto:
        return None
    if precision is Precision.float32:
        return Arithmetic.float32
    return Arithmetic.bfloat16_weights if zero_stage(strategy) else Arithmetic.bfloat16_autocast


def is_of_launcher(name: str) -> bool:
    """True for an environment variable by which a launcher tells a process its place among ranks."""
    return name in _LAUNCHER_VARIABLES or name.startswith(("TORCHELASTIC_", "SLURM_CPU_BIND"))


def cluster_faults(config: Config) -> Iterator[str]:
    """One sentence per contradiction of `cluster` and `strategy`."""
    cluster, strategy = config.cluster, config.strategy.kind
    if (cluster.workers or 1) > 1 and (cluster.isolate or cluster.kind is not ClusterKind.local):
        yield (
            f"cluster.workers={cluster.workers} makes stages side by side, which cluster=local alone does, and not with "
            "cluster.isolate=true: set cluster.workers=null."
        )
    if cluster.kind is ClusterKind.local:
        if cluster.world_size > 1:
            yield (
                f"cluster=local is one process, but cluster.nproc_per_node={cluster.nproc_per_node} and "
                f"cluster.nnodes={cluster.nnodes} ask for {cluster.world_size}: set cluster=torchrun."
            )
        elif strategy is not StrategyKind.auto:
            yield (
                f"strategy={strategy.value} works on ranks, which cluster=local does not start: set cluster=torchrun and "
                "cluster.nproc_per_node, or strategy=auto."
            )
        return
    if cluster.kind is ClusterKind.slurm:
        if cluster.node_rank or cluster.rdzv_endpoint:
            yield (
                f"cluster=slurm is told by SLURM where its ranks are: leave out cluster.node_rank={cluster.node_rank} and "
                f"cluster.rdzv_endpoint={cluster.rdzv_endpoint!r}."
            )
    elif cluster.node_rank >= cluster.nnodes:
        yield f"cluster.node_rank={cluster.node_rank} must be below cluster.nnodes={cluster.nnodes}: machines count from 0."
    elif cluster.nnodes > 1 and not re.fullmatch(r"[^:\s]+:\d{1,5}", cluster.rdzv_endpoint):
        yield (
            f"cluster.rdzv_endpoint={cluster.rdzv_endpoint!r} must be HOST:PORT of machine 0 when cluster.nnodes is "
            f"{cluster.nnodes}: give every machine the same."
        )
    elif cluster.nnodes > 1 and not 0 < int(cluster.rdzv_endpoint.rpartition(":")[2]) <= LAST_PORT:
        yield (
            f"cluster.rdzv_endpoint={cluster.rdzv_endpoint}: the port must be 1 to {LAST_PORT}, for the 99 after it are used, "
            "too."
        )
    for group, optim in (("sft", config.sft), ("dpo", config.dpo)):
        if optim.batch_size % cluster.world_size:
            yield (
                f"{group}.batch_size={optim.batch_size} cannot be shared evenly by {cluster.world_size} ranks "
                f"(cluster.nproc_per_node={cluster.nproc_per_node} x cluster.nnodes={cluster.nnodes}): make it a "
                f"multiple of {cluster.world_size}."
            )
