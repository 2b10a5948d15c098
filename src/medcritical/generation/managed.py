"""A server that lives as long as one piece of work: started on a free port, awaited, stopped with all its processes.

So vLLM and its like are used without being imported, and the GPU is free again for training. Between this process and
the server stands a guard, which ends the server also when this process is killed with -9.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from medcritical.config.cluster import is_of_launcher
from medcritical.errors import GenerationError
from medcritical.generation import guard

HOST = "127.0.0.1"
_POLL_SECONDS = 0.2
_KILL_SECONDS = 8.0  # what the guard may take to kill what ignored the first signal
_TAIL_LINES = 20
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def managed_server(
    command: Sequence[str],
    *,
    model: str,
    health: str,
    start_timeout: float,
    log: Path,
    gpus: int = 1,
    first_gpu: int | None = None,
    revision: str = "",
    grace: float = 20.0,
) -> Iterator[str]:
    """A healthy server; yields its root, e.g. "http://127.0.0.1:40123". It is stopped on the way out, whatever happens.

    {model}, {host}, {port}, {gpus} and {revision} in the parts of `command` are filled in; without a revision, parts that
    name it are left out. Of the GPUs that this process sees the server
    sees `gpus` from `first_gpu` on; None: all. The server is healthy when `health` (a path)
    answers 200, which it must within `start_timeout` seconds. Its output goes to `log`. On the way out it and all
    processes that come of it get SIGTERM and after `grace` seconds SIGKILL; so they do when this process is killed.

    Raises:
        GenerationError: there is no such program, or it dies or stays unhealthy; with the last lines of the log.
    """
    port = _free_port()
    values = {"model": model, "host": HOST, "port": str(port), "gpus": str(gpus), "revision": revision}
    parts = [_fill(part, values) for part in command if revision or "{revision}" not in part]
    log.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which(parts[0]) is None:
        raise GenerationError(f"the engine's command cannot start {parts[0]!r}: install it or give its path.")
    guarded = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(grace), *parts]
    with log.open("wb") as output:
        process = subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(gpus, first_gpu),
            start_new_session=True,
        )
    try:
        _await_health(process, f"http://{HOST}:{port}{health}", start_timeout, log)
        yield f"http://{HOST}:{port}"
    finally:
        _stop(process, grace)


def _environment(gpus: int, first_gpu: int | None) -> dict[str, str]:
    """This process's, without what a launcher of ranks has told it: the server is none of them."""
    environment = {name: value for name, value in os.environ.items() if not is_of_launcher(name)}
    seen = environment.get(_VISIBLE)
    if first_gpu is not None and seen != "":
        numbers = seen.split(",") if seen else [str(number) for number in range(first_gpu + gpus)]
        environment[_VISIBLE] = ",".join(numbers[first_gpu : first_gpu + gpus])
    return environment


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


def _stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """Have the guard end the server and all its processes. Ctrl-C meanwhile ends the grace."""
    process.terminate()
    try:
        process.wait(grace + _KILL_SECONDS)
    except KeyboardInterrupt:
        process.terminate()
        raise
    except subprocess.TimeoutExpired:
        pass  # the guard itself is stuck or stopped
    finally:
        _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """The last resort, where the guard did not do its work: it leads the group that the server is in."""
    try:
        process.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
