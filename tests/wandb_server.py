"""A stand-in for the part of W&B's server that a dashboard is saved through: login, list of projects, views."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_USER = {"id": "1", "username": "u", "name": "u", "email": "u@localhost", "photoUrl": None}
_VIEWER = {**_USER, "admin": False, "flags": "{}", "entity": "team", "teams": {"edges": []}, "deletedAt": None}
_PROJECT = {"id": "1", "name": "medcritical", "entityName": "team", "createdAt": "2026-01-01T00:00:00Z"}


class WandbServer(ThreadingHTTPServer):
    """Takes every view that is saved, or with `is_refusing` none.

    Attributes:
        views: the variables of each saved view, as the client sent them.
    """

    def __init__(self, *, is_refusing: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.is_refusing = is_refusing
        self.views: list[dict[str, Any]] = []

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The GraphQL answer."""
        if "upsertview" not in query.lower():
            edges = [{"node": {**_PROJECT, "isBenchmark": False, "user": None}, "cursor": "1"}]
            page = {"edges": edges, "pageInfo": {"endCursor": "1", "hasNextPage": False}}
            return {"data": {"viewer": {**_VIEWER, "apiKeys": {"edges": []}}, "models": page}}
        if self.is_refusing:
            return {"errors": [{"message": "permission denied"}], "data": None}
        self.views.append(variables)
        view = {"id": f"View{len(self.views)}", "name": variables["name"], "displayName": variables["displayName"]}
        view |= {"description": variables["description"], "project": _PROJECT, "spec": variables["spec"], "user": _USER}
        view |= {"type": variables["type"], "createdAt": _PROJECT["createdAt"], "updatedAt": _PROJECT["createdAt"]}
        return {"data": {"upsertView": {"view": view, "inserted": True}}}


@contextmanager
def serve_wandb(*, is_refusing: bool = False) -> Iterator[WandbServer]:
    """The server, at a free port of this machine, while the block runs."""
    server = WandbServer(is_refusing=is_refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = b""
        if self.path == "/graphql":  # the rest is telemetry
            asked = json.loads(content)
            answer = json.dumps(self.server.answer(asked["query"], asked.get("variables") or {})).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the test says what went wrong."""
