"""How the benchmarks compare two sides: turns, ratios, targets, and each side's memory in a process of its own."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

LoadScript = Callable[[str], ModuleType]


@pytest.fixture
def measure(load_script: LoadScript) -> ModuleType:
    return load_script("measure")


def side(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch, log: list[str], name: str, seconds: list[float], tokens: int
) -> Callable[[], Callable[[], int]]:
    """A side whose runs take so many CPU seconds, and twice as many on the wall; its set-up takes an hour."""
    remaining = iter(seconds)

    def advance(cpu: float) -> None:
        now, wall = measure.time.process_time() + cpu, measure.time.perf_counter() + 2 * cpu
        monkeypatch.setattr(measure.time, "process_time", lambda: now)
        monkeypatch.setattr(measure.time, "perf_counter", lambda: wall)

    def set_up() -> Callable[[], int]:
        advance(3600)

        def work() -> int:
            log.append(name)
            advance(next(remaining))
            return tokens

        return work

    return set_up


def test_sides_take_turns_after_a_warm_up_and_the_ratio_is_the_median_of_costs_per_token(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    contest = measure.Contest(
        "case",
        "peer",
        side(measure, monkeypatch, log, "A", [50.0, 1.0, 1.0, 2.0], tokens=100),
        side(measure, monkeypatch, log, "B", [90.0, 6.0, 2.0, 8.0], tokens=200),
        note=lambda: f"after {len(log)} runs",
    )
    case = measure.compare(contest, turns=3)
    assert "".join(log) == "ABABABAB"
    # Per token: 0.01 0.01 0.02 ours, 0.03 0.01 0.04 the peer's.
    assert (case.ratio, case.lowest, case.highest) == (2.0, 1.0, 3.0)
    assert case.wall_ratio == 2.0
    assert (case.ours_tokens_per_second, case.peer_tokens_per_second) == (100, 33.3)
    assert [turn.ours.cpu_seconds for turn in case.runs] == [1.0, 1.0, 2.0]
    assert case.note == "after 8 runs"
    assert case.memory_ratio is None


def test_memory_is_ours_by_the_peers(measure: ModuleType) -> None:
    contest = measure.Contest("case", "peer", lambda: lambda: 1, lambda: lambda: 1)
    effort = measure.Effort(1.0, 1.0, 1)
    case = measure.summarise(contest, [measure.Turn(effort, effort)], measure.Peaks(ours=1.5, peer=6.0))
    assert case.memory_ratio == 0.25


@pytest.mark.parametrize(
    ("ratio", "memory", "target", "expected"),
    [
        (2.0, None, (2.0, None), True),
        (1.99, None, (2.0, None), False),
        (1.0, 0.45, (None, 0.45), True),
        (1.0, 0.46, (None, 0.45), False),
        (2.1, 0.5, (2.0, 0.5), True),
        (2.1, 0.51, (2.0, 0.5), False),
        (2.1, None, (2.0, 0.5), False),
        (0.1, 9.0, (None, None), None),
    ],
)
def test_a_target_is_reached_in_all_its_parts_or_not(
    measure: ModuleType,
    ratio: float,
    memory: float | None,
    target: tuple[float | None, float | None],
    expected: bool | None,
) -> None:
    contest = measure.Contest("case", "peer", lambda: lambda: 1, lambda: lambda: 1, measure.Target(*target))
    turn = measure.Turn(measure.Effort(1.0, 1.0, 1), measure.Effort(ratio, 1.0, 1))
    peaks = None if memory is None else measure.Peaks(ours=memory, peer=1.0)
    assert measure.summarise(contest, [turn], peaks).is_reached is expected


def test_each_side_has_its_memory_measured_in_a_fresh_process(measure: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import sys
sys.path.insert(0, {str(Path(measure.__file__).parent)!r})
from measure import Contest, report_peak

def side(megabytes):
    def work():
        held = b"x" * (megabytes * 1_000_000)
        return len(held)
    return lambda: work

_, _, name, which = sys.argv
assert name == "big"
print("what a library says first")
report_peak(Contest(name, "peer", side(50), side(450)), which)
""",
        encoding="utf-8",
    )
    held = b"y" * 600_000_000  # the parent's own memory must not count
    peaks = measure.measure_peaks(script, "big")
    assert len(held) > 1e9 * (peaks.peer - peaks.ours)
    assert 0.35 < peaks.peer - peaks.ours < 0.45
    assert peaks.peer < measure.peak_resident()
