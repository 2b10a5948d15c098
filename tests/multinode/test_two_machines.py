"""The same command in two network namespaces: equal to one machine, whatever dies on the way.

Namespaces need root and iproute2. `make test-multinode`; about a quarter of an hour on two idle cores.
"""

import functools
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from machines import ADDRESSES, Command, Machine
from ranked_runs import PATIENCE, RANKS, start_command, trained_models

pytestmark = [pytest.mark.multinode, pytest.mark.slow, pytest.mark.timeout(4 * PATIENCE)]

TIMEOUT = 60.0  # seconds
REACTION = 15.0  # from the moment that a fault can be known to the next start of ranks
ONLY_SFT = "arm=[]"
TOY = (
    "data.sizes={train: 300, dev: 10, test: 20}",
    "sft.templates=100",
    "selfplay.questions=40",
    "trainer.checkpoint_every_steps=5",
    "trainer.log_every_n_steps=1",
    f"cluster.timeout_seconds={TIMEOUT:g}",
)
LONGER = "dpo.steps=20"  # there is a checkpoint every 5
STRATEGIES = ("zero2", "zero3")

Results = dict[str, tuple[list[dict[str, float]], dict[str, Any]]]


def results_of(root: Path) -> Results:
    """Metric rows and weights of every training in the store below `root`."""
    results = {}
    for name, weights in trained_models(root):
        lines = (root / "store" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]
        results[name] = (rows, weights)
    return results


def assert_same(results: Results, others: Results, stages: Sequence[str] = ("sft",)) -> None:
    """Bit for bit: two ranks sum in one order, wherever they are."""
    assert sorted(name.partition("/")[0] for name in results) == sorted(stages)
    assert results.keys() == others.keys()
    for name, (rows, weights) in results.items():
        assert rows == others[name][0], name
        assert all(torch.equal(weight, others[name][1][key]) for key, weight in weights.items()), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Results]:
    """What two ranks on one machine make with a strategy and an arm; each is run once."""

    @functools.cache
    def run(strategy: str, *arm: str) -> Results:
        root = tmp_path_factory.mktemp(f"alone-{strategy}")
        process = start_command(root, *RANKS, *TOY, f"strategy={strategy}", *arm)
        try:
            told = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()  # ranks end with their command
        assert process.returncode == 0, told
        return results_of(root)

    return run


def start_both(machines: tuple[Machine, Machine], root: Path, *overrides: str) -> tuple[Command, Command]:
    first, second = (machine.start(root, *TOY, *overrides) for machine in machines)
    return first, second


def assert_done(root: Path, *commands: Command) -> None:
    for command in commands:
        assert command.end() == 0, command.told
    assert len(list(root.glob("outputs/*/table.csv"))) == 1


def wait_for_checkpoint(root: Path, command: Command, stage: str = "sft") -> None:
    """Return in the middle of a training."""
    while not list((root / "store").glob(f"{stage}/.*.unfinished/step-*/complete.json")):
        assert command.process.poll() is None, command.told
        time.sleep(0.02)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_machines_train_as_one_does(
    machines: tuple[Machine, Machine], tmp_path: Path, alone: Callable[..., Results], strategy: str
) -> None:
    assert_done(tmp_path, *start_both(machines, tmp_path, f"strategy={strategy}"))
    assert_same(results_of(tmp_path), alone(strategy), ("sft", "dpo"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_machine_that_dies_and_comes_back_costs_only_steps(
    machines: tuple[Machine, Machine], tmp_path: Path, alone: Callable[..., Results], strategy: str
) -> None:
    first, _ = start_both(machines, tmp_path, f"strategy={strategy}", ONLY_SFT)
    wait_for_checkpoint(tmp_path, first)
    killed = time.time()
    assert machines[1].kill() >= 3  # command, torchrun, rank
    noticed = first.when("starting again, 1 of 2 times")
    print(f"{strategy}: starts again {noticed - killed:.1f} s after the kill")
    assert noticed - killed < REACTION
    assert "sft (stage 1) failed: rank 1 died without a word" in first.told
    again = machines[1].start(tmp_path, *TOY, f"strategy={strategy}", ONLY_SFT)
    first.when("goes on from its checkpoint after step ")
    assert_done(tmp_path, first, again)
    assert_same(results_of(tmp_path), alone(strategy, ONLY_SFT))


def test_a_machine_that_dies_in_dpo_and_comes_back_costs_only_steps(
    machines: tuple[Machine, Machine], tmp_path: Path, alone: Callable[..., Results]
) -> None:
    """It comes back to a run whose first stages are done, and joins the start that waits for it."""
    first, _ = start_both(machines, tmp_path, "strategy=zero2", LONGER)
    wait_for_checkpoint(tmp_path, first, "dpo")
    assert machines[1].kill() >= 3
    first.when("starting again, 1 of 2 times")
    assert "dpo (dpo_self iteration 1) failed: rank 1 died without a word" in first.told
    again = machines[1].start(tmp_path, *TOY, "strategy=zero2", LONGER)
    first.when("goes on from its checkpoint after step ")
    assert_done(tmp_path, first, again)
    assert_same(results_of(tmp_path), alone("zero2", LONGER), ("sft", "dpo"))


def test_the_first_machine_dies_and_both_commands_are_started_again(
    machines: tuple[Machine, Machine], tmp_path: Path, alone: Callable[..., Results]
) -> None:
    first, second = start_both(machines, tmp_path, "strategy=zero3", ONLY_SFT)
    wait_for_checkpoint(tmp_path, first)
    killed = time.time()
    machines[0].kill()
    assert second.end() == 75
    assert f"machine 0 ({ADDRESSES[0]}:29500) has not answered within cluster.timeout_seconds=60" in second.told
    print(f"the other ends {time.time() - killed:.1f} s after the kill")
    assert time.time() - killed < TIMEOUT + REACTION
    assert list((tmp_path / "store").glob("sft/.*.unfinished/step-*/complete.json"))
    first, second = start_both(machines, tmp_path, "strategy=zero3", ONLY_SFT)
    first.when("goes on from its checkpoint after step ")
    assert_done(tmp_path, first, second)
    assert_same(results_of(tmp_path), alone("zero3", ONLY_SFT))


def test_the_first_machine_comes_back_before_the_other_has_given_up(
    machines: tuple[Machine, Machine], tmp_path: Path, alone: Callable[..., Results]
) -> None:
    first, second = start_both(machines, tmp_path, "strategy=zero2", ONLY_SFT)
    wait_for_checkpoint(tmp_path, first)
    machines[0].kill()
    first = machines[0].start(tmp_path, *TOY, "strategy=zero2", ONLY_SFT)
    first.when("goes on from its checkpoint after step ")
    assert_done(tmp_path, first, second)
    assert_same(results_of(tmp_path), alone("zero2", ONLY_SFT))


def test_a_cable_that_is_cut_ends_all_ranks_within_the_timeout(
    machines: tuple[Machine, Machine], tmp_path: Path, alone: Callable[..., Results]
) -> None:
    first, second = start_both(machines, tmp_path, "strategy=zero2", ONLY_SFT)
    wait_for_checkpoint(tmp_path, first)
    cut = time.time()
    machines[0].switch("down")
    noticed = first.when("starting again, 1 of 2 times")
    print(f"starts again {noticed - cut:.1f} s after the cut")
    assert noticed - cut < TIMEOUT + REACTION
    assert "heard nothing" in first.told or "the network between them is cut" in first.told
    machines[0].switch("up")
    first.when("goes on from its checkpoint after step ")
    assert_done(tmp_path, first, second)
    assert_same(results_of(tmp_path), alone("zero2", ONLY_SFT))


def test_an_address_that_is_not_machine_0s_is_told_by_both(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    wrong = f"cluster.rdzv_endpoint={ADDRESSES[0][:-1]}9:29500"
    first, second = (machine.start(tmp_path, *TOY, "cluster.timeout_seconds=5", wrong) for machine in machines)
    assert first.end() == second.end() == 2
    assert "does not lead to this machine, which is machine 0" in first.told
    assert f"this machine has {ADDRESSES[0]}" in first.told
    assert "nobody answered at cluster.rdzv_endpoint=10.77.0.9:29500 within cluster.timeout_seconds=5" in second.told


def test_nothing_is_left_of_the_machines() -> None:
    assert "medcritical-" not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
