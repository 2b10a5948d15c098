"""The scale simulation against cases worked by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # a folder of scripts

import scale
import scale_model

GPU = scale_model.Gpu()
STUDENT = scale_model.STUDENTS[0]


@pytest.fixture
def two_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slots; a step takes 2 seconds with both active and 1 with one."""
    monkeypatch.setattr(scale_model, "slots", lambda student, gpu: 2)
    monkeypatch.setattr(scale_model, "step_seconds", lambda student, gpu, active: float(active))


def test_tokens_of_the_first_iteration() -> None:
    first = scale_model.iterations()[0]
    assert (first.attempts, first.corrections, first.pairs) == (8_000_000, 4_000_000, 1_400_000)
    assert first.sampled == 12_000_000 * 700
    assert first.trained == 1_400_000 * (250 + 1400)


@pytest.mark.usefixtures("two_slots")
def test_waiting_responses_take_free_slots() -> None:
    # 3 and 1 start; after 1 step (2 s) the third, 4 long, takes the slot; after 2 more (4 s) the first ends and nobody
    # waits; the last 2 steps run alone (2 s).
    ended, full = scale_model.serve(iter([3, 1, 4]), STUDENT, GPU)
    assert (ended, full) == (8.0, 2.0)


@pytest.mark.usefixtures("two_slots")
@pytest.mark.parametrize(("lengths", "ended"), [([5], 5.0), ([5, 5], 10.0), ([], 0.0)])
def test_nobody_waits(lengths: list[int], ended: float) -> None:
    assert scale_model.serve(iter(lengths), STUDENT, GPU) == (ended, 0.0)


def test_more_gpus_are_faster_and_leave_more_slots_empty() -> None:
    few, many = (scale_model.sample(STUDENT, GPU, gpus, 200_000, simulated=4) for gpus in (8, 64))
    assert many.last < few.last
    assert 1 - many.full / many.last > 1 - few.full / few.last
    assert many.last >= many.mean >= many.full


def test_a_long_share_is_scaled_like_a_short_one() -> None:
    short, long = (scale_model.sample(STUDENT, GPU, 1, responses, simulated=1) for responses in (40_000, 80_000))
    assert long.full == pytest.approx(2 * short.full)
    assert long.last - long.full == pytest.approx(short.last - short.full)


def test_lengths_have_the_mean_that_is_stated() -> None:
    lengths = list(scale_model.response_lengths(20_000, seed=0))
    # cut at the limit: a little under the mean of the log-normal
    assert sum(lengths) / len(lengths) == pytest.approx(scale_model.MEAN_RESPONSE, rel=0.03)
    assert max(lengths) <= scale_model.LIMIT


def test_cache_memory_bounds_the_slots() -> None:
    big = scale_model.Student("big", 30e9, 2**20, 1)
    assert scale_model.slots(big, GPU) == int((72e9 - 60e9) / (2**20 * 1650))


def test_training_without_failures_is_work_and_writes() -> None:
    assert scale_model.train_through_failures(100, 30, 1, 10, 1e30, seed=0) == 104


def test_the_best_interval_is_better_than_its_neighbours() -> None:
    best = scale_model.best_interval(20, 36_000)
    assert best == 1200

    def added(interval: float) -> float:
        return sum(scale_model.train_through_failures(1e6, interval, 20, 300, 36_000, seed) for seed in range(40))

    assert added(best) < min(added(best / 8), added(best * 8))


def test_file_calls_of_all_processes() -> None:
    assert scale_model.storm_minutes(1000, scale_model.FILE_CALLS_PER_PROCESS) == pytest.approx(1000 / 60)


def test_file_calls_while_all_goes_well() -> None:
    locks, waiting, signs = scale_model.asked_per_second(1024)
    assert (locks, waiting) == (128 / 5, 128 * 2 / 0.5)
    assert signs == 1024 * 3 / 60  # once a minute at a timeout of half an hour


def test_weights_in_the_store() -> None:
    seven = next(line for line in scale.weights_table().splitlines() if line.startswith("| 7B"))
    # 20.2 million adapters and 7.6 billion weights of 4 bytes; a state has the weight and two moments, and two are kept
    assert [cell.strip() for cell in seven.split("|")[2:-1]] == ["0.08", "0.32", "15.20", "121.92", "0.48", "182.40"]


def test_a_lora_training_leaves_at_most_a_hundredth_of_its_model() -> None:
    """Adapter and model in float32, whatever the base's own numbers are: 0.3 % of a 7B student, 0.1 % of a 70B one."""
    assert [round(100 * student.adapters / student.parameters, 1) for student in scale_model.STUDENTS] == [0.3, 0.1]


@pytest.mark.slow
def test_the_document_shows_what_the_command_prints() -> None:
    root = Path(__file__).parents[2]
    printed = subprocess.run([sys.executable, "benchmarks/scale.py"], cwd=root, capture_output=True, text=True)
    assert printed.stdout.strip() in (root / "docs" / "scale.md").read_text(encoding="utf-8")
