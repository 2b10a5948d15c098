"""How near our DPO step comes to doing nothing but its matrix products, at the rate this machine does them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from flops import Shape, count_shared, training_flops
from measure import Case, Contest, Effort, Target, Turn, Work, summarise, time_work
from medcritical.modeling.checkpoint import Student
from workload import Group

SIDE, REPEATS = 2048, 10


def floor_case(student: Student, groups: Sequence[Group], lora_rank: int, work: Work, *, turns: int) -> Case:
    """Our step against the time its FLOPs would take: the ratio is the share of the limit that is reached."""
    counts = [
        count_shared(len(group.prompt_ids), [len(group.chosen_ids), *map(len, group.rejected_ids)]) for group in groups
    ]
    shape = Shape.of(student.model.config)
    flops = sum(training_flops(shape, tokens, lora_rank) for tokens in counts)
    rates: list[float] = []

    def take_turn() -> Turn:
        effort = time_work(work)
        cpu_rate, wall_rate = gemm_rates()
        rates.append(cpu_rate)
        return Turn(effort, Effort(flops / cpu_rate, flops / wall_rate, effort.tokens))

    work()
    runs = [take_turn() for _ in range(turns)]
    slowest, fastest = (round(rate / 1e9) for rate in (min(rates), max(rates)))
    note = f"{flops / 1e9:.0f} GFLOP; float32 products of {SIDE} x {SIDE} at {slowest} to {fastest} GFLOP/s"
    contest = Contest(
        name="DPO LoRA, distance from the limit of matrix products",
        peer="its FLOPs at the measured rate",
        ours=lambda: work,
        theirs=lambda: work,
        target=Target(ratio=0.70),
        note=lambda: note,
    )
    return summarise(contest, runs)


def gemm_rates(side: int = SIDE, repeats: int = REPEATS) -> tuple[float, float]:
    """FLOP per CPU second and per wall second of float32 products of square matrices, on torch's threads."""
    left, right = torch.randn(side, side), torch.randn(side, side)
    result = left @ right
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        torch.mm(left, right, out=result)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    flops = 2 * side**3 * repeats
    return flops / cpu, flops / wall
