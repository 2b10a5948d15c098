"""What the method would take far beyond one machine: the simulation behind the tables of `scale.py`.

Nothing here was run on a cluster. Hardware figures are the makers' data sheets, efficiencies are stated guesses, record
sizes and file operations were measured on this program (the commands are in docs/scale.md).
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from medcritical.pipeline.guard import sign_interval
from medcritical.pipeline.nodes import POLL_SECONDS
from medcritical.store.locks import LONGEST_SECONDS

QUESTIONS, ATTEMPTS, ITERATIONS = 1_000_000, 8, 3
WRONG = (0.50, 0.42, 0.36)
"""Share of wrong attempts in each iteration, before it; a guess in the range of exam accuracies."""
CORRECTED = 0.35
"""Share of corrections that the verifier accepts; a guess."""
EPOCHS = 1
LORA_RANK, KEPT_STATES = 8, 2
"""Trainings are LoRA; adapters on every linear layer, as in `student=qwen2_5_7b`. The newest two states are kept."""
PROMPT_TOKENS, MEAN_RESPONSE, SIGMA, LIMIT = 250, 700, 0.6, 4096
"""Responses are log-normal with this mean (tokens) and sigma, cut at the limit."""

BYTES_PER_ATTEMPT, MEMORY_PER_ATTEMPT = 3_679, 7_074
"""Measured: one `Attempt` of a HuatuoGPT-o1 trace as a JSON line, and as a record in memory."""
FILE_CALLS_PER_PROCESS = 78_700
"""Measured: stat and open calls of a training process while it imports."""
RANKS_PER_NODE = 8
STARTS = 4
"""Of ranks, in an iteration: play, reference, dpo, answer."""
TIMEOUT = 1800.0
"""cluster.timeout_seconds as it comes."""
GZIP_RATIO = 3.2
"""Measured, one attempt per question; eight like attempts of one question compress far better."""


@dataclass(frozen=True)
class Student:
    """Shape of a student and how it is laid out.

    Attributes:
        parameters: of the model.
        kv_bytes: key-value cache, bytes per token in bfloat16.
        gpus_per_server: tensor-parallel size of one inference server.
        adapters: weights of adapters of `LORA_RANK`.
    """

    name: str
    parameters: float
    kv_bytes: int
    gpus_per_server: int
    adapters: float = 0.0


STUDENTS = (  # Qwen2.5-7B: 28 layers, 4 key-value heads of 128; Qwen2.5-72B: 80 layers, 8 key-value heads
    Student("7B", 7.6e9, 2 * 28 * 4 * 128 * 2, 1, adapters=20.2e6),
    Student("70B", 72.7e9, 2 * 80 * 8 * 128 * 2, 4, adapters=105.3e6),
)


@dataclass(frozen=True)
class Gpu:
    """One H100 SXM by its data sheet, with the shares of it that are reached (guesses)."""

    flops: float = 989e12  # dense bfloat16
    bandwidth: float = 3.35e12  # bytes per second
    memory: float = 80e9
    training_share: float = 0.40
    decoding_share: float = 0.60
    hours_between_failures: float = 50_000  # Llama 3 (arXiv:2407.21783): 419 in 54 days on 16,384 GPUs


@dataclass(frozen=True)
class Iteration:
    """Tokens of one self-play iteration.

    Attributes:
        sampled: new tokens of attempts and corrections.
        trained: tokens of one DPO epoch, each prompt once per pair.
    """

    attempts: int
    corrections: int
    pairs: int
    sampled: float
    trained: float


def iterations() -> list[Iteration]:
    """Tokens per iteration: every question `ATTEMPTS` times, every wrong attempt corrected once."""
    rows = []
    for wrong in WRONG[:ITERATIONS]:
        attempts = QUESTIONS * ATTEMPTS
        corrections = round(attempts * wrong)
        pairs = round(corrections * CORRECTED)
        sampled = (attempts + corrections) * MEAN_RESPONSE
        rows.append(
            Iteration(attempts, corrections, pairs, sampled, pairs * (PROMPT_TOKENS + 2.0 * MEAN_RESPONSE) * EPOCHS)
        )
    return rows


def slots(student: Student, gpu: Gpu) -> int:
    """Responses that one server decodes at once: what its cache memory holds, 256 at most."""
    free = 0.9 * gpu.memory * student.gpus_per_server - 2 * student.parameters
    return max(1, min(256, int(free / (student.kv_bytes * (PROMPT_TOKENS + 2 * MEAN_RESPONSE)))))


def step_seconds(student: Student, gpu: Gpu, active: int) -> float:
    """Time of one decoding step of `active` responses: weights and cache are read, or the arithmetic is the limit."""
    context = PROMPT_TOKENS + MEAN_RESPONSE / 2
    read = 2 * student.parameters + active * context * student.kv_bytes
    share = gpu.decoding_share * student.gpus_per_server
    return max(read / (gpu.bandwidth * share), 2 * student.parameters * active / (gpu.flops * share))


def training_gpu_hours(student: Student, gpu: Gpu, tokens: float) -> float:
    """LoRA DPO: 4 FLOPs per weight and token, and 2 for the reference, once."""
    return 6 * student.parameters * tokens / (gpu.flops * gpu.training_share) / 3600


def response_lengths(count: int, seed: int) -> Iterator[int]:
    """Tokens of `count` responses."""
    rng, mu = random.Random(seed), math.log(MEAN_RESPONSE) - SIGMA**2 / 2
    for _ in range(count):
        yield min(LIMIT, max(1, round(rng.lognormvariate(mu, SIGMA))))


def serve(lengths: Iterator[int], student: Student, gpu: Gpu) -> tuple[float, float]:
    """Seconds until a server has answered everything, and the seconds until its first slot stays empty.

    All active responses advance one token a step; a waiting one takes a slot as soon as one is free. Exact for that
    model: time runs in steps taken, whose length depends on how many are active.
    """
    room, clock, steps, full_until = slots(student, gpu), 0.0, 0, 0.0
    ends: list[int] = []
    for length in lengths:
        if len(ends) == room:
            clock += (ends[0] - steps) * step_seconds(student, gpu, room)
            steps = heapq.heappop(ends)
            full_until = clock
        heapq.heappush(ends, steps + length)
    while ends:
        clock += (ends[0] - steps) * step_seconds(student, gpu, len(ends))
        steps = heapq.heappop(ends)
    return clock, full_until


@dataclass(frozen=True)
class Sampling:
    """One sampling pass over all servers, in seconds.

    Attributes:
        mean: when the average server has ended.
        last: when the last of the servers simulated has.
        full: until when the average server had no empty slot.
    """

    servers: int
    mean: float
    last: float
    full: float


def sample(student: Student, gpu: Gpu, gpus: int, responses: int, *, simulated: int = 16, seed: int = 0) -> Sampling:
    """Deal `responses` by stride over the servers of `gpus` GPUs; `simulated` of the servers are played through.

    A server that would get more than 40,000 responses is played with 40,000 and its full part scaled up.
    """
    servers = max(1, gpus // student.gpus_per_server)
    share = math.ceil(responses / servers)
    played = min(share, 40_000)
    runs = [serve(response_lengths(played, seed + number), student, gpu) for number in range(min(servers, simulated))]
    extra = [full * (share / played - 1) for _, full in runs]
    ends = [end + more for (end, _), more in zip(runs, extra, strict=True)]
    fulls = [full + more for (_, full), more in zip(runs, extra, strict=True)]
    return Sampling(servers, sum(ends) / len(ends), max(ends), sum(fulls) / len(fulls))


def best_interval(write_seconds: float, failure_seconds: float) -> float:
    """Seconds between checkpoints that lose least: sqrt(2 * write * time between failures) (Young, 1974)."""
    return math.sqrt(2 * write_seconds * failure_seconds)


def train_through_failures(
    work: float, interval: float, write: float, restart: float, failure_seconds: float, seed: int
) -> float:
    """Wall seconds of `work` seconds of training whose job fails at random and restarts from its newest checkpoint."""
    rng, clock, done = random.Random(seed), 0.0, 0.0
    next_failure = rng.expovariate(1 / failure_seconds)
    while done < work:
        piece = min(interval, work - done)
        if clock + piece + write > next_failure:
            clock = next_failure + restart
            next_failure = clock + rng.expovariate(1 / failure_seconds)
        else:
            clock, done = clock + piece + write, done + piece
    return clock


def storm_minutes(processes: int, calls_per_second: float) -> float:
    """Minutes in which all processes import from one shared file system that serves so many metadata calls."""
    return processes * FILE_CALLS_PER_PROCESS / calls_per_second / 60


def asked_per_second(processes: int) -> tuple[float, float, float]:
    """Metadata calls a second: tries of machines that wait for a lock; of machines that wait for machine 0; signs of life.

    Who waits for machine 0 looks for a manifest and lists the starts. Of each rank one touch, one open, one fstat per sign.
    """
    machines = processes // RANKS_PER_NODE
    return machines / LONGEST_SECONDS, machines * 2 / POLL_SECONDS, processes * 3 / sign_interval(TIMEOUT)
