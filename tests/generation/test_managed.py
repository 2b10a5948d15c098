"""A server's life: started, awaited, told about when it dies, and stopped with all its processes, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from medcritical.errors import GenerationError
from medcritical.generation.managed import managed_server

SCRIPT = """
import http.server, os, signal, subprocess, sys, time
port, mode, pids = int(sys.argv[1]), sys.argv[2], sys.argv[3]
note = lambda pid: open(pids, "a").write(f"{pid}\\n")
note(os.getpid())
print("server for", sys.argv[4], flush=True)
if mode == "dies":
    sys.exit("no such model: Ähre")
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode in ("children", "deaf children"):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if mode == "deaf children" else ""
    note(subprocess.Popen([sys.executable, "-c", deaf + "import time; time.sleep(600)"]).pid)
if mode in ("own session", "daemon"):  # a daemon's parent is gone as well
    detach = "import os, time; " + ("os.fork() and os._exit(0); " if mode == "daemon" else "")
    report = f"open({pids!r}, 'a').write(str(os.getpid()) + chr(10)); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", detach + "os.setsid(); " + report])
    while open(pids).read().count("\\n") < 2:
        time.sleep(0.02)
if mode == "shot":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "never":
    time.sleep(600)
started = time.monotonic()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_loading = mode == "slow" and time.monotonic() - started < 1
        self.send_response(503 if is_loading else 200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class Served:
    """What a test knows of its server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pids, self.log = folder, folder / "pids", folder / "logs" / "server.log"
        (folder / "serve.py").write_text(SCRIPT, encoding="utf-8")

    def start(self, mode: str, start_timeout: float = 20.0, grace: float = 5.0):
        command = [sys.executable, str(self.folder / "serve.py"), "{port}", mode, str(self.pids), "model={model}"]
        return managed_server(
            command, model="org/m", health="/health", start_timeout=start_timeout, log=self.log, grace=grace
        )

    def alive(self) -> list[int]:
        return [pid for pid in map(int, self.pids.read_text(encoding="utf-8").split()) if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """True for a process that runs; a zombie is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are counted in /proc, which this system does not have")
    return Served(tmp_path)


@pytest.mark.parametrize("mode", ["healthy", "slow", "children"])
def test_it_is_healthy_inside_and_gone_outside(served: Served, mode: str) -> None:
    start = time.monotonic()
    with served.start(mode) as root:
        assert root.startswith("http://127.0.0.1:")
        assert httpx.get(f"{root}/health", trust_env=False).status_code == 200
        assert len(served.alive()) == (2 if mode == "children" else 1)
        assert (time.monotonic() - start >= 1) == (mode == "slow") or mode != "slow"
    assert served.alive() == []
    assert served.log.read_text(encoding="utf-8") == "server for model=org/m\n"


@pytest.mark.parametrize("mode", ["deaf", "deaf children"])
def test_who_ignores_the_first_signal_gets_the_second(served: Served, mode: str) -> None:
    with served.start(mode, grace=0.5):
        start = time.monotonic()
    assert 0.4 < time.monotonic() - start < 4
    assert served.alive() == []


def test_one_that_dies_shows_its_last_words(served: Served) -> None:
    start = time.monotonic()
    with pytest.raises(GenerationError, match="died at its start") as caught, served.start("dies"):
        pytest.fail("it never was healthy")
    assert time.monotonic() - start < 15
    assert "exit status 1" in str(caught.value)
    assert "no such model: Ähre" in str(caught.value)
    assert str(served.log) in str(caught.value)


def test_one_that_never_answers_is_stopped(served: Served) -> None:
    with pytest.raises(GenerationError, match=r"not healthy at http://127\.0\.0\.1:"), served.start("never", 1.5):
        pytest.fail("it never was healthy")
    assert served.alive() == []


def test_a_program_that_is_not_installed(tmp_path: Path) -> None:
    with (
        pytest.raises(GenerationError, match="cannot start 'no-such-server'"),
        managed_server(["no-such-server"], model="", health="/", start_timeout=1, log=tmp_path / "log"),
    ):
        pytest.fail("there is nothing to start")


def test_it_is_stopped_when_the_work_fails(served: Served) -> None:
    with pytest.raises(ZeroDivisionError), served.start("children"):
        raise ZeroDivisionError
    assert served.alive() == []


WORKER = (
    "import sys, time; from pathlib import Path; from test_managed import Served\n"
    "with Served(Path(sys.argv[1])).start(sys.argv[2], grace=0.5):\n    print('up', flush=True); time.sleep(600)"
)


def start_worker(served: Served, mode: str) -> subprocess.Popen[str]:
    """A process of its own that holds a server, once the server is up."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(served.folder), mode],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_it_is_stopped_on_ctrl_c(served: Served) -> None:
    process = start_worker(served, "children")
    assert len(served.alive()) == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert served.alive() == []


@pytest.mark.parametrize("mode", ["healthy", "deaf", "children", "deaf children", "own session", "daemon"])
def test_it_does_not_outlive_a_worker_that_is_killed(served: Served, mode: str) -> None:
    if mode in ("own session", "daemon") and sys.platform != "linux":
        pytest.skip("only Linux hands orphans to the guard")
    process = start_worker(served, mode)
    assert len(served.alive()) == (1 if mode in ("healthy", "deaf") else 2)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while served.alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert served.alive() == []


@pytest.mark.parametrize("mode", ["own session", "daemon"])
def test_a_child_that_left_the_group_is_stopped_too(served: Served, mode: str) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux hands orphans to the guard")
    with served.start(mode, grace=0.5):
        assert len(served.alive()) == 2
    assert served.alive() == []


def test_a_server_that_ends_by_a_signal_is_told_so(served: Served) -> None:
    with pytest.raises(GenerationError, match=r"died at its start \(signal 9\)"), served.start("shot"):
        pytest.fail("it never was healthy")


def test_braces_of_other_options_stay(served: Served, tmp_path: Path) -> None:
    program = "import sys; print(sys.argv[1:]); sys.exit(3)"
    options = ['{"enable_thinking": false}', "{model}:{host}"]
    with (
        pytest.raises(GenerationError) as caught,
        managed_server(
            [sys.executable, "-c", program, *options],
            model="a/b",
            health="/",
            start_timeout=20,
            log=tmp_path / "log",
        ),
    ):
        pytest.fail("it died")
    assert """['{"enable_thinking": false}', 'a/b:127.0.0.1']""" in str(caught.value)


@pytest.mark.parametrize(
    ("seen", "first_gpu", "given"),
    [
        ("4,5,6,7", 2, "6,7"),
        (None, 2, "2,3"),
        ("4,5,6,7", None, "4,5,6,7"),
        ("", 2, ""),  # whoever hides all GPUs means it
    ],
)
def test_a_rank_gives_its_server_some_of_the_gpus_and_nothing_of_its_own_place(
    served: Served, monkeypatch: pytest.MonkeyPatch, seen: str | None, first_gpu: int | None, given: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    for name in ("RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    told = served.folder / "environment"
    serve = f"env > {told}; exec {sys.executable} {served.folder / 'serve.py'} {{port}} plain {served.pids} {{gpus}}"
    with managed_server(
        ["sh", "-c", serve], model="m", gpus=2, first_gpu=first_gpu, health="/health", start_timeout=20, log=served.log
    ):
        lines = told.read_text(encoding="utf-8").splitlines()
    assert f"CUDA_VISIBLE_DEVICES={given}" in lines
    assert not [line for line in lines if line.startswith(("RANK=", "MASTER_ADDR=", "TORCHELASTIC_"))]
    assert "server for 2" in served.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(("revision", "told"), [("a1b2", ["--revision=a1b2"]), ("", [])])
def test_the_command_is_told_the_revision_where_there_is_one(tmp_path: Path, revision: str, told: list[str]) -> None:
    script = tmp_path / "server.py"
    script.write_text(
        f"import json, sys; json.dump(sys.argv[2:], open({str(tmp_path / 'told')!r}, 'w'))\n{SCRIPT}", encoding="utf-8"
    )
    command = [sys.executable, str(script), "{port}", "", str(tmp_path / "pids"), "{model}", "--revision={revision}"]
    log = tmp_path / "log"
    with managed_server(command, model="m", revision=revision, health="/health", start_timeout=30, log=log):
        pass
    assert json.loads((tmp_path / "told").read_text(encoding="utf-8"))[3:] == told
