"""A server that lives as long as one piece of work: started on a free port, awaited, stopped with all its processes.

So vLLM and its like are used without being imported, and the GPU is free again for training.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from medcritical.errors import GenerationError

HOST = "127.0.0.1"
_POLL_SECONDS = 0.2
_KILL_SECONDS = 5.0  # what the kernel may take; longer only where orphans stay as zombies, because nothing reaps them
_TAIL_LINES = 20


@contextmanager
def managed_server(
    command: Sequence[str], *, model: str, health: str, start_timeout: float, log: Path, grace: float = 20.0
) -> Iterator[str]:
    """A healthy server; yields its root, e.g. "http://127.0.0.1:40123". It is stopped on the way out, whatever happens.

    {model}, {host} and {port} in the parts of `command` are filled in. The server is healthy when `health` (a path)
    answers 200, which it must within `start_timeout` seconds. Its output goes to `log`. On the way out its process
    group gets SIGTERM and after `grace` seconds SIGKILL.

    Raises:
        GenerationError: there is no such program, or it dies or stays unhealthy; with the last lines of the log.
    """
    port = _free_port()
    parts = [_fill(part, {"model": model, "host": HOST, "port": str(port)}) for part in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                parts, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            raise GenerationError(
                f"the engine's command cannot start {parts[0]!r} ({error.strerror}): install it or give its path."
            ) from error
    try:
        _await_health(process, f"http://{HOST}:{port}{health}", start_timeout, log)
        yield f"http://{HOST}:{port}"
    finally:
        _stop_group(process, grace)


def _fill(part: str, values: dict[str, str]) -> str:
    """`part` with its placeholders filled in; other braces stay, as in JSON given to an option."""
    for name, value in values.items():
        part = part.replace(f"{{{name}}}", value)
    return part


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(process: subprocess.Popen[bytes], url: str, start_timeout: float, log: Path) -> None:
    deadline = time.monotonic() + start_timeout
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                how = (
                    f"exit status {process.returncode}" if process.returncode >= 0 else f"signal {-process.returncode}"
                )
                raise GenerationError(f"the engine's server died at its start ({how}); {_tail(log)}")
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            time.sleep(_POLL_SECONDS)
    raise GenerationError(
        f"the engine's server was not healthy at {url} within {start_timeout:g} s (start_timeout); {_tail(log)}"
    )


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return f"the end of {log}:\n" + "\n".join(f"    {line}" for line in lines)


def _stop_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """End every process of the server's group: its leader may be gone and its children still hold the GPU."""
    _signal_group(process.pid, signal.SIGTERM)
    try:
        _await_end(process, grace)
    finally:  # also when the user presses Ctrl-C again
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        _await_end(process, _KILL_SECONDS)


def _await_end(process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_alive(process: subprocess.Popen[bytes]) -> bool:
    """True while a process of the group is left. The leader is reaped on the way, or it would stay as a zombie."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # all of it is gone
