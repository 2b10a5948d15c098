"""An OpenAI-compatible chat server of the tests' own, which can misbehave in every way that real ones do."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behave = Callable[[dict[str, Any], int], str]
"""(request, how often this prompt was asked before) -> what the server does; "" is to answer."""


def text_of(request: dict[str, Any]) -> str:
    return request["messages"][-1]["content"] if "messages" in request else request["prompt"]


class ChatServer:
    """Answers "answer to <prompt> (<number of the choice>, seed <seed>)"; records what it was asked and what it gave."""

    def __init__(self, behave: Behave = lambda request, before: "", *, hang: float = 1.0, delay: float = 0.0) -> None:
        self.behave, self.hang, self.delay = behave, hang, delay
        self.ignores_n = self.gives_usage = False
        self.write: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.given: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.times: list[float] = []
        self.at_work = self.most_at_work = 0
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def enter(self, request: dict[str, Any], headers: dict[str, str]) -> str:
        with self._lock:
            fault = self.behave(request, self._asked[text_of(request)])
            self._asked[text_of(request)] += 1
            self.requests.append(request)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.faults[fault] += 1
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
        return fault

    def leave(self, request: dict[str, Any], fault: str) -> None:
        with self._lock:
            self.at_work -= 1
            if not fault:
                self.given[text_of(request)] += 1

    def body(self, request: dict[str, Any]) -> bytes:
        if self.write is not None:
            return json.dumps(self.write(request)).encode()
        number = 1 if self.ignores_n else request["n"]
        texts = [f"answer to {text_of(request)} ({place}, seed {request['seed']})" for place in range(number)]
        reply: dict[str, Any] = {
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"} for text in texts]
        }
        if self.gives_usage:
            reply["usage"] = {"prompt_tokens": 7, "completion_tokens": 10 * number, "total_tokens": 7 + 10 * number}
        return json.dumps(reply).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(port: int) -> None:
    """Be a server on `port` for ever, healthy at once: what `managed_server` starts in a test."""
    _Server(("127.0.0.1", port), _handler(ChatServer())).serve_forever()


def _handler(chat: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(200 if self.path == "/health" else 404, b"")

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat.paths.append(self.path)
            fault = chat.enter(request, dict(self.headers))
            try:
                time.sleep(chat.delay)
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.answer(request, fault)
            finally:
                chat.leave(request, fault)

        def answer(self, request: dict[str, Any], fault: str) -> None:
            if fault == "hang":
                time.sleep(chat.hang)
                self.close_connection = True
            elif fault == "cut":
                self.connection.close()
                self.close_connection = True
            elif fault == "cut body":  # promises more than it sends
                body = chat.body(request)
                self.reply(200, body[: len(body) // 2], {"Content-Length": str(len(body))})
                self.close_connection = True
            elif fault == "truncated":  # whole by its length, no whole JSON
                self.reply(200, chat.body(request)[:-9])
            elif fault == "empty":
                self.reply(200, b'{"choices": []}')
            elif fault == "page":
                self.reply(200, b"<html>busy</html>")
            elif fault == "date":
                self.reply(429, b"later", {"Retry-After": formatdate(time.time() + 2, usegmt=True)})
            elif fault.startswith("429 "):
                self.reply(429, b'{"error": "slow down"}', {"Retry-After": fault.split()[1]})
            elif fault:
                self.reply(int(fault), f"status {fault} for {self.headers.get('Authorization')}".encode())
            else:
                self.reply(200, chat.body(request))

        def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
