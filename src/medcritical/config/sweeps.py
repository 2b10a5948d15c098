"""Contradictions in `sweep`: how cells are run, and who asks for them."""

from __future__ import annotations

from collections.abc import Iterator

from medcritical.config.choices import ClusterKind
from medcritical.config.schema import Config, StudyConfig


def sweep_faults(config: Config) -> Iterator[str]:
    """One sentence per value of `sweep` that is not allowed."""
    sweep = config.sweep
    for name, value, allowed in (
        ("on_error", sweep.on_error, ("stop", "continue")),
        ("failed", sweep.failed, ("retry", "keep")),
    ):
        if value not in allowed:
            yield f"sweep.{name}={value} is not allowed: choose {' or '.join(allowed)}."
    if sweep.study is not None:
        yield from _study_faults(config, sweep.study)


def _study_faults(config: Config, study: StudyConfig) -> Iterator[str]:
    if not config.arms:
        yield "sweep.study needs an arm whose accuracy it raises: choose one, e.g. arm=dpo_self."
    if config.evaluation.split != "dev":
        yield (
            f"sweep.study chooses by what evaluation.split={config.evaluation.split} scores, which would make that split a "
            "training set: set evaluation.split=dev and score the chosen cell on test afterwards."
        )
    if config.cluster.nnodes > 1 and config.cluster.kind is ClusterKind.torchrun:
        yield (
            f"sweep.study asks on one machine, but cluster=torchrun with cluster.nnodes={config.cluster.nnodes} takes a command "
            "on each: set cluster=slurm, or cluster.nnodes=1."
        )
    if not study.space:
        yield "sweep.study.space is empty: give the range of at least one key; see sweeps/optuna_study.yaml."
    for key, span in study.space.items():
        if span.low >= span.high:
            yield f"sweep.study.space.{key}: low={span.low:g} is not less than high={span.high:g}."
        if span.log and span.low <= 0:
            yield f"sweep.study.space.{key}: low={span.low:g} has no logarithm: set log: false, or low above 0."
