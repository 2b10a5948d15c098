"""What servers say that they are; whatever they do, it takes no longer than a second and is no error."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medcritical.generation.server_version import server_version


@contextmanager
def serving(pages: dict[str, str], *, server: str = "", delay: float = 0.0) -> Iterator[str]:
    """A server with these pages; the root of its API."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay)
            body = pages.get(self.path, "").encode()
            self.send_response_only(200 if body else 404)
            if server:
                self.send_header("Server", server)
            self.send_header("Content-Length", str(len(body)))
            with suppress(BrokenPipeError):  # who asked has gone
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("pages", "server", "said"),
    [
        ({"/version": json.dumps({"version": "0.11.0"})}, "uvicorn", "0.11.0"),
        ({"/props": json.dumps({"build_info": "b6700-1a2b3c4"})}, "llama.cpp", "llama.cpp b6700-1a2b3c4"),
        ({"/props": json.dumps({"total_slots": 4})}, "llama.cpp", "llama.cpp"),
        ({"/version": "<html>1.0</html>"}, "nginx/1.24", "nginx/1.24"),
        ({"/version": "[1]"}, "", "unknown"),
        ({}, "", "unknown"),
    ],
)
def test_a_server_says_what_it_is(pages: dict[str, str], server: str, said: str) -> None:
    with serving(pages, server=server) as url:
        assert server_version(url) == said


def test_a_server_that_takes_its_time_is_unknown_within_a_second_or_so() -> None:
    with serving({"/version": json.dumps({"version": "1"})}, delay=5.0) as url:
        start = time.monotonic()
        assert server_version(url) == "unknown"
        assert time.monotonic() - start < 2.5


def test_a_server_that_is_gone_is_unknown() -> None:
    with serving({}) as url:
        pass
    assert server_version(url) == "unknown"
