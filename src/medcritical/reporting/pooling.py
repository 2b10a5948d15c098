"""Rows of several runs gathered by checkpoint and pooled over seeds, and the checkpoint each is compared with. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeVar

from medcritical.errors import DataError
from medcritical.records import Split
from medcritical.reporting.summary import Replicate, SummaryRow

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Checkpoint:
    """What a line of a table is about: everything that names a scored checkpoint but its seeds."""

    run: str
    data: str
    split: Split
    arm: str
    beta: float | None
    iteration: int


@dataclass(frozen=True)
class Pool:
    """The rows of one checkpoint, one per replicate, by rising seeds."""

    checkpoint: Checkpoint
    rows: tuple[SummaryRow, ...]

    @property
    def samples(self) -> list[SummaryRow]:
        """The rows without repeats of a scoring: what was answered once is one sample, under however many seeds it stands."""
        first: dict[str, SummaryRow] = {}
        for row in self.rows:
            first.setdefault(row.artefact, row)
        return list(first.values())

    @property
    def title(self) -> str:
        """The arm's printed name."""
        return self.rows[0].title

    @property
    def accuracy(self) -> float:
        """Mean accuracy over seeds, as a share of questions; over the groups of `group_replicates`, which weigh alike."""
        samples = self.samples
        groups = group_replicates([row.replicate for row in samples])
        return fmean(fmean(samples[number].accuracy for number in group) for group in groups)

    def mean(self, values: Iterable[float | None]) -> float | None:
        """Mean of one value per seed; None as soon as one lacks it, since a mean of the rest is another number."""
        every = list(values)
        known = [value for value in every if value is not None]
        return sum(known) / len(known) if len(known) == len(every) else None


def shared_kind(replicates: Iterable[Replicate]) -> int | None:
    """Which seed makes groups: the first of 0 (questions) and 1 (teacher) that varies and that several replicates share.

    None where there is none: replicates then stand for themselves.
    """
    of_kinds = list(zip(*replicates, strict=True))[:2]
    return next((kind for kind, seeds in enumerate(of_kinds) if 1 < len(set(seeds)) < len(seeds)), None)


def group_replicates(replicates: Sequence[Replicate]) -> list[list[int]]:
    """Positions of replicates that count as one, group by group (docs/statistics.md, "Grids of seeds")."""
    kind = shared_kind(replicates)
    groups: dict[int, list[int]] = {}
    for number, replicate in enumerate(replicates):
        groups.setdefault(number if kind is None else replicate[kind], []).append(number)
    return list(groups.values())


def checkpoint_of(row: SummaryRow) -> Checkpoint:
    """The checkpoint that a row scores."""
    return Checkpoint(row.run, row.data, row.split, row.arm, row.beta, row.iteration)


def unique_rows(rows: Iterable[SummaryRow]) -> list[SummaryRow]:
    """The rows without repeats: cells of a sweep all list the checkpoints that they share. The first one stays.

    Raises DataError where two stores hold different results under one name: trainings differ by rounding between machines.
    """
    seen: dict[Hashable, SummaryRow] = {}
    for row in rows:
        kept = seen.setdefault((checkpoint_of(row), row.replicate, row.artefact), row)
        if kept.num_correct != row.num_correct:
            raise DataError(
                f"{row.artefact} of run {row.run!r} was made twice, in two stores, with {kept.num_correct} right answers in one, "
                f"and {row.num_correct} in the other: report the folders of one store at a time."
            )
    return list(seen.values())


def pool_seeds(rows: Sequence[SummaryRow]) -> list[Pool]:
    """One pool per checkpoint; runs, data sets and arms by first appearance, then beta, then iteration.

    Raises DataError when one checkpoint and replicate has two artefacts: these differ in a key that no row shows.
    """
    pools: dict[Checkpoint, dict[Replicate, SummaryRow]] = {}
    for row in unique_rows(rows):
        other = pools.setdefault(checkpoint_of(row), {}).setdefault(row.replicate, row)
        if other is not row:
            raise DataError(
                f"two different checkpoints are both arm {row.arm!r}, iteration {row.iteration}, seed {row.seed} of "
                f"run {row.run!r} ({other.artefact} and {row.artefact}): give runs that differ in more than seeds and "
                "beta names of their own (name=...), or report their folders one at a time."
            )
    arms = order_of_appearance(row.arm for row in rows)
    runs = order_of_appearance(row.run for row in rows)
    data = order_of_appearance((row.data, row.split) for row in rows)

    def position(checkpoint: Checkpoint) -> tuple[int, int, int, float, int]:
        beta = -1.0 if checkpoint.beta is None else checkpoint.beta
        place = runs[checkpoint.run], data[checkpoint.data, checkpoint.split], arms[checkpoint.arm]
        return (*place, beta, checkpoint.iteration)

    return [Pool(key, tuple(pools[key][seeds] for seeds in sorted(pools[key]))) for key in sorted(pools, key=position)]


def order_of_appearance(items: Iterable[T]) -> dict[T, int]:
    """Each item's rank by first appearance, from 0."""
    return {item: rank for rank, item in enumerate(dict.fromkeys(items))}


def distinct(pools: Iterable[Pool]) -> list[Pool]:
    """The pools without those that another run has as well: runs of one stage 1 all list it. The first one stays."""
    seen: dict[Hashable, Pool] = {}
    for pool in pools:
        artefacts = tuple((row.replicate, row.artefact) for row in pool.rows)
        seen.setdefault((replace(pool.checkpoint, run=""), artefacts), pool)
    return list(seen.values())


def ambiguous_runs(rows: Iterable[SummaryRow]) -> set[str]:
    """Names of runs under which one checkpoint and replicate has two artefacts: they differ in a key that no row shows."""
    found: dict[tuple[Checkpoint, Replicate], str] = {}
    return {
        row.run for row in rows if found.setdefault((checkpoint_of(row), row.replicate), row.artefact) != row.artefact
    }


def last_iterations(pools: Sequence[Pool]) -> list[Pool]:
    """The pools of each arm's last iteration, in the pools' order."""

    def arm_of(pool: Pool) -> Checkpoint:
        return replace(pool.checkpoint, iteration=0)

    last = {arm_of(pool): pool for pool in pools}  # iterations rise
    return [pool for pool in pools if last[arm_of(pool)] is pool]


def choose_baseline(pools: Sequence[Pool], checkpoint: Checkpoint, baseline: str) -> Pool | None:
    """The pool that a checkpoint is compared with; None for that of the baseline itself and where none fits.

    `baseline` is ARM or RUN:ARM. An arm is looked for on the same data set and split, in the same run, else in the only
    other one that has it. Of several pools it is the one of the same beta, where there is one, and of the same iteration,
    else the last. None also when it exists at several betas and none is the checkpoint's own.
    """
    run, _, arm = baseline.rpartition(":")
    if checkpoint.arm == arm and run in ("", checkpoint.run):
        return None
    place = (checkpoint.data, checkpoint.split, arm)
    there = [p for p in pools if (p.checkpoint.data, p.checkpoint.split, p.checkpoint.arm) == place]
    fitting = [p for p in there if p.checkpoint.run == (run or checkpoint.run)]
    if not fitting and not run:
        fitting = distinct(there)
    fitting = [p for p in fitting if p.checkpoint.beta == checkpoint.beta] or fitting
    if len({(p.checkpoint.run, p.checkpoint.beta) for p in fitting}) != 1:
        return None
    by_iteration = {p.checkpoint.iteration: p for p in fitting}
    return by_iteration.get(checkpoint.iteration, by_iteration[max(by_iteration)])
