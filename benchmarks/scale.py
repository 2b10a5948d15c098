"""What the method would take far beyond one machine: on paper, and by a small simulation (`scale_model.py`).

python benchmarks/scale.py        # half a minute on one core; prints the tables of docs/scale.md
"""

from __future__ import annotations

from collections.abc import Sequence

from scale_model import (
    ATTEMPTS,
    BYTES_PER_ATTEMPT,
    FILE_CALLS_PER_PROCESS,
    GZIP_RATIO,
    ITERATIONS,
    KEPT_STATES,
    MEMORY_PER_ATTEMPT,
    QUESTIONS,
    STARTS,
    STUDENTS,
    Gpu,
    asked_per_second,
    best_interval,
    iterations,
    sample,
    slots,
    storm_minutes,
    train_through_failures,
    training_gpu_hours,
)


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
    """Wall hours of one iteration, the first, which is the largest; GPU hours of it and of all."""
    first, *_ = every = iterations()
    sampled, trained = (sum(getattr(each, name) for each in every) for name in ("sampled", "trained"))
    rows = []
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
                    f"{gpus * sampling_hours * sampled / first.sampled + training * trained / first.trained:,.0f}",
                ]
            )
    header = ["student on GPUs", "servers", "slots each", "sampling, h", "with empty slots", "training, h"]
    return table([*header, "GPU hours", f"of {ITERATIONS} iterations"], rows)


def weights_table() -> str:
    """What LoRA trainings leave in the store, what is merged for a server while it runs, and states while they run."""
    rows = []
    for student in STUDENTS:
        adapter, model = 4 * student.adapters, 4 * student.parameters
        trainings = 1 + ITERATIONS  # stage 1, and a DPO each
        lora, full = (KEPT_STATES * 12 * weights for weights in (student.adapters, student.parameters))
        sizes = (adapter, trainings * adapter, model / 2, trainings * (adapter + model), lora, full)
        rows.append([student.name, *(f"{size / 1e9:,.2f}" for size in sizes)])
    header = [
        "student",
        "adapter/, GB",
        f"{1 + ITERATIONS} trainings of an arm, GB",
        "merged in bfloat16 while served, GB",
    ]
    header += [f"{1 + ITERATIONS} trainings, were each merged in float32, GB", "states of one that runs, GB"]
    return table([*header, "the same trained in full, GB"], rows)


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
    """Start-up storm, and what is asked while all goes well, by number of processes."""
    rows = []
    for processes in (8, 64, 256, 1024):
        rows.append(
            [
                *(str(processes), f"{processes * FILE_CALLS_PER_PROCESS / 1e6:.1f}"),
                *(f"{storm_minutes(processes, rate):.1f}" for rate in (5_000, 50_000)),
                f"{STARTS * storm_minutes(processes, 50_000):.1f}",
                *(f"{rate:.1f}" for rate in asked_per_second(processes)),
            ]
        )
    header = ["ranks", "file calls, M", "minutes at 5,000/s", "at 50,000/s", f"{STARTS} starts at 50,000/s"]
    return table([*header, "lock tries/s", "machines that wait, calls/s", "signs, calls/s"], rows)


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
        ("Store", store_table() + "\n" + weights_table()),
        ("Metadata", metadata_table()),
        ("Failures, 70B student, ten epochs", failures_table(gpu)),
    ):
        print(f"### {title}\n\n{text}")


if __name__ == "__main__":
    main()
