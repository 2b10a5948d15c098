"""Machine 0 is met by the network and by the store; whatever is wrong with either is said."""

import socket
import time
from pathlib import Path

import pytest

from configurations import configure
from medcritical.config.schema import ClusterConfig
from medcritical.errors import ConfigError
from medcritical.pipeline import meeting
from medcritical.pipeline.execute import StageFailed
from medcritical.pipeline.meeting import FirstMachine, FirstMachineGone, interface_towards, own_addresses, present


@pytest.fixture
def endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "ASK_SECONDS", 0.05)


def cluster(endpoint: str, timeout_seconds: float = 60.0, nproc_per_node: int = 1, nnodes: int = 2) -> ClusterConfig:
    counts = (f"cluster.nproc_per_node={nproc_per_node}", f"cluster.nnodes={nnodes}")
    return configure(
        *(
            "cluster=torchrun",
            f"cluster.rdzv_endpoint={endpoint}",
            f"cluster.timeout_seconds={timeout_seconds}",
            *counts,
        )
    ).cluster


def check_for(first: FirstMachine, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        first.check()
        time.sleep(0.02)


def test_it_is_met_when_it_comes_and_missed_when_it_goes(tmp_path: Path, endpoint: str) -> None:
    first = FirstMachine(tmp_path, cluster(endpoint, 1.0))
    check_for(first, 0.3)  # it may come yet
    with present(tmp_path, cluster(endpoint)):
        check_for(first, 1.5)
    check_for(first, 0.3)  # it may come back
    with present(tmp_path, cluster(endpoint)):  # with another token
        check_for(first, 1.5)
    with pytest.raises(FirstMachineGone, match=rf"machine 0 \({endpoint}\) has not answered within .*=1") as gone:
        check_for(first, 3.0)
    assert gone.value.exit_code == 75


def test_time_in_which_nobody_asked_does_not_count(tmp_path: Path, endpoint: str) -> None:
    first = FirstMachine(tmp_path, cluster(endpoint, 0.5))
    with present(tmp_path, cluster(endpoint)):
        first.check()
    time.sleep(0.7)  # its ranks were at work
    first.check()
    with pytest.raises(FirstMachineGone):
        check_for(first, 3.0)


def test_what_has_ended_it_is_told_to_those_who_have_met_it(tmp_path: Path, endpoint: str) -> None:
    first, late = (FirstMachine(tmp_path, cluster(endpoint, 0.5)) for _ in range(2))

    def fail() -> None:
        with present(tmp_path, cluster(endpoint)):
            first.check()
            raise StageFailed("sft (stage 1) failed: no templates", 2)

    with pytest.raises(StageFailed):
        fail()
    with pytest.raises(FirstMachineGone, match=r"machine 0 has ended: sft .* no templates") as gone:
        check_for(first, 0.3)
    assert gone.value.exit_code == 2
    with pytest.raises(ConfigError, match="nobody answered at"):  # that was an earlier command of machine 0
        check_for(late, 2.0)


def test_another_store_and_another_address_are_told_apart(tmp_path: Path, endpoint: str) -> None:
    with present(tmp_path / "one", cluster(endpoint)):
        with pytest.raises(ConfigError, match=rf"answers at {endpoint}, but paths.store=\S+other is not the store"):
            check_for(FirstMachine(tmp_path / "other", cluster(endpoint, 0.2)), 2.0)
        with pytest.raises(ConfigError, match=r"cannot be used on this machine.*choose another, with 100 free ports"):
            present(tmp_path, cluster(endpoint)).__enter__()
    with pytest.raises(ConfigError, match="no machine 0 has used this store with it: start the same command there"):
        check_for(FirstMachine(tmp_path / "new", cluster(endpoint, 0.2)), 2.0)


def test_another_store_is_told_long_before_the_timeout(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "STORE_SECONDS", 0.5)
    first = FirstMachine(tmp_path / "other", cluster(endpoint))
    check_for(first, 1.0)  # nobody answers yet, and that may last
    with present(tmp_path / "one", cluster(endpoint)):
        check_for(first, 0.2)  # a network file system may be late
        with pytest.raises(ConfigError, match="is not the store that it has"):
            check_for(first, 2.0)


@pytest.mark.parametrize(("nproc_per_node", "nnodes"), [(4, 2), (2, 4)])
def test_other_counts_of_machines_and_ranks_are_refused(
    tmp_path: Path, endpoint: str, nproc_per_node: int, nnodes: int
) -> None:
    own = f"cluster.nnodes={nnodes} and cluster.nproc_per_node={nproc_per_node}"
    with present(tmp_path, cluster(endpoint, nproc_per_node=2)):
        check_for(FirstMachine(tmp_path, cluster(endpoint, nproc_per_node=2)), 0.2)
        with pytest.raises(ConfigError, match=f"{own} on this machine, but machine 0 counts on 2 and 2"):
            check_for(FirstMachine(tmp_path, cluster(endpoint, nproc_per_node=nproc_per_node, nnodes=nnodes)), 0.2)


@pytest.mark.parametrize(
    ("host", "fault"),
    [("no-such-host.invalid", "no machine is known by the name"), ("127.255.255.254", "does not lead to this machine")],
)
def test_machine_0_refuses_an_endpoint_that_is_not_its_own(
    tmp_path: Path, endpoint: str, host: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = endpoint.partition(":")[2]
    if host.startswith("127."):  # all of 127.0.0.0/8 is this machine; so let somebody else be there
        monkeypatch.setattr(meeting, "_ask", lambda endpoint: "the token of another")
    with pytest.raises(ConfigError, match=fault), present(tmp_path, cluster(f"{host}:{port}")):
        pass
    assert not list(tmp_path.glob(".nodes/*"))


def test_the_interface_of_a_route_is_found() -> None:
    assert interface_towards("127.0.0.1:29500") == "lo"
    assert interface_towards("no-such-host.invalid:29500") is None
    assert not any(address.startswith("127.") for address in own_addresses())
