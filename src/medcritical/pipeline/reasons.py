"""Why a start of ranks made no artefact: the first thing that went wrong, not the last of what followed from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcritical.config.schema import ClusterConfig
from medcritical.errors import ConfigError
from medcritical.pipeline.execute import StageFailed, describe_death, stage_failed
from medcritical.pipeline.nodes import failure_path, machines_that_failed, pid_path
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.rank import RankFailure
from medcritical.store import read_json

DEFECT = 1  # the exit code of a rank that met an error which may pass: a lost peer, a full GPU, a bug


@dataclass(frozen=True)
class Outcome:
    """How a start ended on machine 0.

    Attributes:
        launcher, exit_code: the program that starts the ranks, and how it ended.
        lost: ranks that have given no sign of life for so long that they are stopped or gone.
        absent: machines that were waited for in vain.
    """

    launcher: str
    exit_code: int
    lost: Sequence[int] = ()
    absent: Sequence[int] = ()


def find_reason(
    call: StageCall, start: Path, cluster: ClusterConfig, ended: Outcome, log: Path, known: Collection[int] = ()
) -> StageFailed:
    """What to tell the person who watches.

    In this order: an error of a rank's own; ranks that gave no sign of life; ranks that died or hang while others, which say so,
    were waiting for them; a network that let nobody hear anybody; machines that have not come, or could not start their ranks.

    Args:
        known: machines that have come to an earlier start, and so may come back.
    """
    ranks = range(cluster.world_size)
    failures = [read_json(path, RankFailure) for rank in ranks if (path := failure_path(start, rank)).is_file()]
    failures.sort(key=lambda failure: (failure.lost_peer, failure.time))
    if failures and not failures[0].lost_peer:
        return stage_failed(call, failures[0].event, log)
    heard = {failure.rank for failure in failures}
    silent = [rank for rank in ranks if rank not in heard and pid_path(start, rank).is_file()]
    fault = _fault(failures, silent, [rank for rank in silent if rank in ended.lost], cluster)
    if fault is not None:
        said = f"{call.ref.stage} ({call.label}) failed: {fault}. Output of all ranks is in {log}."
        return StageFailed(said, DEFECT, call.ref.stage)
    if failures:
        return stage_failed(call, failures[0].event, log)
    is_hopeless = not set(ended.absent) <= set(known)
    said = f"{call.ref.stage} ({call.label}) failed: {_without_ranks(start, cluster, ended, log)}."
    return StageFailed(said, ConfigError.exit_code if is_hopeless else DEFECT, call.ref.stage)


def _without_ranks(start: Path, cluster: ClusterConfig, ended: Outcome, log: Path) -> str:
    """Why no rank has begun."""
    if ended.absent:
        return (
            f"{_name(ended.absent, 'machine')} of {cluster.nnodes} did not come within "
            f"cluster.timeout_seconds={cluster.timeout_seconds:g}: start the same command there, with the machine's number "
            "as cluster.node_rank, and see what it says"
        )
    losses = machines_that_failed(start, cluster)
    if losses:
        return (
            f"no rank began, and {ended.launcher} ended first on {_name(losses, 'machine')}; its output is in {log.name} of "
            "that machine's run folder"
        )
    return f"{ended.launcher} ended ({describe_death(ended.exit_code)}); its output is in {log}"


def _fault(
    failures: Sequence[RankFailure], silent: Sequence[int], lost: Sequence[int], cluster: ClusterConfig
) -> str | None:
    num_ranks, waited = cluster.world_size, f"for {cluster.timeout_seconds:g} seconds (cluster.timeout_seconds)"
    timed_out = [failure.rank for failure in failures if failure.timed_out]
    if lost:
        return f"{_name(lost)} of {num_ranks} did not answer {waited} and gave no sign of life: stopped, or the machine is gone"
    if silent and timed_out:
        return (
            f"{_name(silent)} of {num_ranks} did not answer {_name(timed_out)} {waited}, though still at work: it hangs, or "
            "the network between them is cut"
        )
    if silent:
        return f"{_name(silent)} died without a word, as when it is killed; the kernel kills processes that use too much memory"
    if timed_out:
        return (
            f"{_name(timed_out)} of {num_ranks} waited {waited} and heard nothing, though all ranks were there: the network "
            "between them is cut or blocked"
        )
    return None


def _name(numbers: Sequence[int], kind: str = "rank") -> str:
    return f"{kind} {numbers[0]}" if len(numbers) == 1 else f"{kind}s {', '.join(map(str, numbers))}"
