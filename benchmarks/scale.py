"""What the method would take far beyond one machine: on paper, and by a small simulation.

    python benchmarks/scale.py        # half a minute on one core; prints the tables of docs/scale.md

Nothing here was run on a cluster. Hardware figures are the makers' data sheets, efficiencies are stated guesses, record
sizes and file operations were measured on this program (the commands are in docs/scale.md).
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

QUESTIONS, ATTEMPTS, ITERATIONS = 1_000_000, 8, 3
WRONG = (0.50, 0.42, 0.36)
"""Share of wrong attempts in each iteration, before it; a guess in the range of exam accuracies."""
CORRECTED = 0.35
"""Share of corrections that the verifier accepts; a guess."""
EPOCHS = 1
PROMPT_TOKENS, MEAN_RESPONSE, SIGMA, LIMIT = 250, 700, 0.6, 4096
"""Responses are log-normal with this mean (tokens) and sigma, cut at the limit."""

BYTES_PER_ATTEMPT, MEMORY_PER_ATTEMPT = 3_679, 7_074
"""Measured: one `Attempt` of a HuatuoGPT-o1 trace as a JSON line, and as a record in memory."""
FILE_CALLS_PER_PROCESS = 78_700
"""Measured: stat and open calls of a training process while it imports."""
GZIP_RATIO = 3.2
"""Measured, one attempt per question; eight like attempts of one question compress far better."""


@dataclass(frozen=True)
class Student:
    """Shape of a student and how it is laid out.

    Attributes:
        parameters: of the model.
        kv_bytes: key-value cache, bytes per token in bfloat16.
        gpus_per_server: tensor-parallel size of one inference server.
    """

    name: str
    parameters: float
    kv_bytes: int
    gpus_per_server: int


STUDENTS = (
    Student("7B", 7.6e9, 2 * 28 * 4 * 128 * 2, 1),  # Qwen2.5-7B: 28 layers, 4 key-value heads of 128
    Student("70B", 72.7e9, 2 * 80 * 8 * 128 * 2, 4),  # Qwen2.5-72B: 80 layers, 8 key-value heads
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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def tokens_table() -> str:
    """What three iterations write and train on."""
    rows = [
        [
            *(str(t), f"{i.attempts / 1e6:.1f}", f"{i.corrections / 1e6:.2f}", f"{i.pairs / 1e6:.2f}"),
            *(f"{i.sampled / 1e9:.1f}", f"{i.trained / 1e9:.2f}"),
        ]
        for t, i in enumerate(iterations(), 1)
    ]
    header = ["iteration", "attempts, M", "corrections, M", "pairs, M", "sampled tokens, G", "tokens of a DPO epoch, G"]
    return table(header, rows)


def time_table(gpu: Gpu) -> str:
    """Wall hours of one iteration, the first, which is the largest."""
    first, rows = iterations()[0], []
    for student in STUDENTS:
        for gpus in (8, 64, 256, 1024):
            pass_ = sample(student, gpu, gpus, first.attempts + first.corrections)
            training = training_gpu_hours(student, gpu, first.trained)
            sampling_hours = pass_.last / 3600
            rows.append(
                [
                    *(f"{student.name} on {gpus}", str(pass_.servers), str(slots(student, gpu))),
                    *(f"{sampling_hours:.2f}", f"{1 - pass_.full / pass_.last:.1%}", f"{training / gpus:.2f}"),
                    f"{gpus * sampling_hours + training:,.0f}",
                ]
            )
    header = ["student on GPUs", "servers", "slots each", "sampling, h", "with empty slots", "training, h", "GPU hours"]
    return table(header, rows)


def store_table() -> str:
    """Sizes of the largest artefact, the attempts of one iteration."""
    attempts = QUESTIONS * ATTEMPTS
    rows = [
        ["one JSONL file, GB", f"{attempts * BYTES_PER_ATTEMPT / 1e9:.1f}"],
        ["records of that file in one process, GB", f"{attempts * MEMORY_PER_ATTEMPT / 1e9:.1f}"],
        ["gzip shards, GB", f"{attempts * BYTES_PER_ATTEMPT / GZIP_RATIO / 1e9:.1f}"],
        ["shards of 50,000 attempts", f"{attempts // 50_000}"],
        ["files of three iterations, sharded", f"{3 * 4 * attempts // 50_000}"],
    ]
    return table(["attempts of one iteration", "value"], rows)


def metadata_table() -> str:
    """Start-up storm and lock polling, by number of processes."""
    rows = []
    for processes in (8, 64, 256, 1024):
        rows.append(
            [
                *(str(processes), f"{processes * FILE_CALLS_PER_PROCESS / 1e6:.1f}"),
                *(f"{storm_minutes(processes, rate):.1f}" for rate in (5_000, 50_000)),
                *(f"{(processes // 8 or 1) * 20}", f"{(processes // 8 or 1) / 5:.1f}"),
            ]
        )
    header = ["processes", "file calls, M", "minutes at 5,000/s", "minutes at 50,000/s"]
    return table([*header, "lock tries/s, every 50 ms", "lock tries/s, every 5 s"], rows)


def failures_table(gpu: Gpu) -> str:
    """Training time lost to failures, by how often a checkpoint is written; means of 200 simulated trainings."""
    student, first, rows = STUDENTS[1], iterations()[0], []
    for gpus in (256, 1024):
        work = training_gpu_hours(student, gpu, first.trained) / gpus * 3600 * 10  # ten epochs, as the paper
        between = gpu.hours_between_failures * 3600 / gpus
        for interval in (600.0, best_interval(20, between), 4 * 3600.0, work):
            times = [train_through_failures(work, interval, 20, 300, between, seed) for seed in range(200)]
            name = "none" if interval == work else f"{interval / 60:.0f}"
            rows.append(
                [
                    *(str(gpus), f"{work / 3600:.1f}", f"{between / 3600:.0f}", name),
                    f"{sum(times) / len(times) / work - 1:.1%}",
                ]
            )
    header = ["GPUs", "work, h", "hours between failures", "minutes between checkpoints", "time added"]
    return table(header, rows)


def main() -> None:
    """Print all tables."""
    gpu = Gpu()
    for title, text in (
        ("Tokens", tokens_table()),
        ("Time of the first iteration", time_table(gpu)),
        ("Store", store_table()),
        ("Metadata", metadata_table()),
        ("Failures, 70B student, ten epochs", failures_table(gpu)),
    ):
        print(f"### {title}\n\n{text}")


if __name__ == "__main__":
    main()
