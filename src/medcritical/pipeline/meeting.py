"""How machines that run the same command find each other: by `cluster.rdzv_endpoint`, and by the store that they share.

Machine 0 listens at the endpoint's port for as long as its command runs and tells whoever asks a token, which lies in the
store too. Who gets it knows that machine 0 is there, is reached, and has the same store. Ranks meet at the ports after it.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from medcritical.config.schema import ClusterConfig
from medcritical.errors import ConfigError, MedCriticalError
from medcritical.records import Record
from medcritical.store import read_json, write_json

PORTS = 100
"""The endpoint's port, and those after it where starts of ranks meet in turn."""

ASK_SECONDS = 2.0  # between two questions whether machine 0 is still there, and for each answer


STORE_SECONDS = 60.0  # a network file system may show for so long what was there before


class Presence(Record, frozen=True):
    """Machine 0 of an endpoint: the token that it tells, its addresses, and why its command has ended, if with an error.

    `counts` are the machines and the ranks on each that it counts on.
    """

    token: str
    addresses: list[str]
    ended: str = ""
    exit_code: int = 0
    counts: tuple[int, int] = (0, 0)


class FirstMachineGone(MedCriticalError):
    """Machine 0 has ended with an error, or no longer answers; carries the exit code the program ends with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def present(root: Path, cluster: ClusterConfig) -> Iterator[None]:
    """Within it machine 0 answers at the endpoint; an error that ends the block is told to the others.

    Raises:
        ConfigError: the endpoint is not one of this machine, or its port is taken.
    """
    endpoint, presence = (
        cluster.rdzv_endpoint,
        Presence(secrets.token_hex(16), own_addresses(), counts=_counts(cluster)),
    )
    with _listening(endpoint, presence.token):
        _check_own(endpoint, presence)
        write_json(_path(root, endpoint), presence)
        try:
            yield
        except BaseException as error:
            is_stop = isinstance(error, KeyboardInterrupt)
            message, code = ("it was stopped", 75) if is_stop else (str(error), getattr(error, "exit_code", 1))
            write_json(_path(root, endpoint), msgspec.structs.replace(presence, ended=message, exit_code=code))
            raise


class FirstMachine:
    """Machine 0 as the others see it. `check` is to be called while they wait for it."""

    def __init__(self, root: Path, cluster: ClusterConfig) -> None:
        self.root, self.cluster, self.endpoint = root, cluster, cluster.rdzv_endpoint
        self._token, self._asked = "", time.monotonic() - ASK_SECONDS
        self._missed, self._strange = 0.0, 0.0  # seconds without an answer, and with one that the store does not know

    def check(self) -> None:
        """Do nothing while machine 0 is there, or may come yet.

        Raises:
            ConfigError: it has not been met within the timeout, by the network or by the store, or counts on other ranks.
            FirstMachineGone: it has ended with an error, or has not answered for the timeout.
        """
        passed = time.monotonic() - self._asked
        if passed < ASK_SECONDS:
            return
        self._asked += passed
        token, presence = _ask(self.endpoint), self._presence()
        if presence is not None and token == presence.token:
            self._meet(presence)
            return
        passed = min(passed, 2 * ASK_SECONDS)  # not what went by while ranks were at work and nobody asked
        if self._token and presence is not None and presence.token == self._token and presence.ended:
            raise FirstMachineGone(f"machine 0 has ended: {presence.ended}", presence.exit_code)
        if token:
            self._wait_for_store(passed)
            return
        self._missed, self._strange = self._missed + passed, 0.0
        if self._missed < self.cluster.timeout_seconds:
            return
        within = f"within cluster.timeout_seconds={self.cluster.timeout_seconds:g}"
        if self._token:
            raise FirstMachineGone(
                f"machine 0 ({self.endpoint}) has not answered {within}: its command was killed, or the network is cut; start "
                "the same command on all machines again.",
                75,
            )
        raise ConfigError(_not_met(self.endpoint, within, presence))

    def _meet(self, presence: Presence) -> None:
        self._token, self._missed, self._strange = presence.token, 0.0, 0.0
        own = _counts(self.cluster)
        if own != presence.counts:
            raise ConfigError(
                f"cluster.nnodes={own[0]} and cluster.nproc_per_node={own[1]} on this machine, but machine 0 counts on "
                f"{presence.counts[0]} and {presence.counts[1]}: give all machines the same command but for cluster.node_rank."
            )

    def _wait_for_store(self, passed: float) -> None:
        """Machine 0 answers, and the store does not show it yet, or never will."""
        self._strange += passed
        if self._strange >= min(self.cluster.timeout_seconds, STORE_SECONDS):
            raise ConfigError(
                f"machine 0 answers at {self.endpoint}, but paths.store={self.root} is not the store that it has: give all "
                "machines the same shared folder."
            )

    def _presence(self) -> Presence | None:
        path = _path(self.root, self.endpoint)
        return read_json(path, Presence) if path.is_file() else None


def interface_towards(endpoint: str) -> str | None:
    """The network interface of this machine that leads to the endpoint's host; None where the host's name is not known."""
    host, port = split_endpoint(endpoint)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # of a datagram socket: nothing is sent, the kernel looks up the route
            own = str(probe.getsockname()[0])
    except OSError:
        return None
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address.partition("%")[0] == own for address in addresses):
            return str(name)
    return None


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of HOST:PORT."""
    host, _, port = endpoint.rpartition(":")
    return host, int(port)


def own_addresses() -> list[str]:
    """This machine's addresses, without those that lead only to itself."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = [a.address for all in psutil.net_if_addrs().values() for a in all if a.family in families]
    return sorted(address for address in found if not address.startswith(("127.", "fe80:")) and address != "::1")


def _not_met(endpoint: str, within: str, presence: Presence | None) -> str:
    if presence is None:
        return (
            f"nobody answered at cluster.rdzv_endpoint={endpoint} {within}, and no machine 0 has used this store with it: "
            "start the same command there with cluster.node_rank=0, and give all machines the same paths.store."
        )
    return (
        f"nobody answered at cluster.rdzv_endpoint={endpoint} {within}. Machine 0 that last used it has the addresses "
        f"{', '.join(presence.addresses)}: see that its command runs, that this machine reaches the address, and that no "
        f"firewall closes the {PORTS} ports from the endpoint's on."
    )


def _counts(cluster: ClusterConfig) -> tuple[int, int]:
    return cluster.nnodes, cluster.nproc_per_node


def _path(root: Path, endpoint: str) -> Path:
    path = root / ".nodes" / f"{endpoint.replace(':', '_')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _ask(endpoint: str) -> str:
    """The token that is told at the endpoint; empty where nobody answers."""
    with suppress(OSError, UnicodeDecodeError), socket.create_connection(split_endpoint(endpoint), ASK_SECONDS) as line:
        return line.recv(100).decode("ascii")
    return ""


@contextmanager
def _listening(endpoint: str, token: str) -> Iterator[None]:
    """Tell the token to whoever connects to the endpoint's port."""
    _, port = split_endpoint(endpoint)
    dual = socket.has_dualstack_ipv6()
    try:
        server = socket.create_server(
            ("", port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual
        )
    except OSError as error:
        raise ConfigError(
            f"port {port} of cluster.rdzv_endpoint={endpoint} cannot be used on this machine ({error.strerror}): choose "
            f"another, with {PORTS} free ports from there on."
        ) from error
    server.settimeout(0.5)
    over = threading.Event()

    def answer() -> None:
        while not over.is_set():
            with suppress(OSError):  # nobody came, or went away again
                line, _ = server.accept()
                with line:
                    line.sendall(token.encode("ascii"))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread
        thread.join()
        server.close()


def _check_own(endpoint: str, presence: Presence) -> None:
    if _ask(endpoint) == presence.token:
        return
    host, _ = split_endpoint(endpoint)
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        fault = f"no machine is known by the name {host!r}"
    else:
        fault = "does not lead to this machine, which is machine 0 (cluster.node_rank=0)"
    raise ConfigError(
        f"cluster.rdzv_endpoint={endpoint}: {fault}. Give the address of machine 0 that the others reach; this machine has "
        f"{', '.join(presence.addresses) or 'none but loopback'}."
    )
