"""A stand-in for the parts of W&B's server that runs are sent and dashboards saved through: login, runs, files, views."""

import gzip
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
    """Takes every view and run that is sent; with `is_refusing` no view, and of a run the start alone.

    Attributes:
        views: the variables of each saved view, as the client sent them.
        runs: likewise of each time that a run was opened or changed.
        lines: the lines of each of a run's streamed files, in order: its history, its summary.
        uploads: the files of runs by their path.
    """

    def __init__(self, *, is_refusing: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.is_refusing = is_refusing
        self.views: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.lines: dict[str, list[str]] = {}
        self.uploads: dict[str, bytes] = {}

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The GraphQL answer."""
        if "upsertview" not in query.lower():
            of_run = self.answer_run(query, variables)
            if of_run is not None:
                return {"data": of_run}
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

    def answer_run(self, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to what a run asks that is being sent; None to another question."""
        if "upsertBucket" in query:
            self.runs.append(variables)
            project = {**_PROJECT, "name": variables["project"], "entity": {"id": "1", "name": "team"}}
            bucket = {"id": "1", "name": variables["name"], "displayName": variables["displayName"], "project": project}
            bucket |= {"description": None, "config": "{}", "sweepName": None, "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket, "inserted": len(self.runs) == 1}}
        if self.is_refusing:
            return None
        if "CreateRunFiles" in query:
            root = f"http://127.0.0.1:{self.server_port}/uploads/"
            files = [{"name": name, "uploadUrl": root + name} for name in variables["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        if "CreateArtifact" in query:  # W&B keeps each table as an artefact of its own too; here it has them all
            sequence = {"latestArtifact": {"id": "1"}}
            return {"createArtifact": {"artifact": {"id": "1", "state": "COMMITTED", "artifactSequence": sequence}}}
        if "query ArtifactType" in query:
            return {"project": {"artifact": None}}
        return None

    def stream(self, files: dict[str, dict[str, Any]]) -> None:
        """Take lines of streamed files at their offset."""
        for name, chunk in files.items():
            lines = self.lines.setdefault(name, [])
            lines[chunk["offset"] :] = chunk["content"]


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
        if self.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        answer = b"{}"
        if self.path == "/graphql":
            asked = json.loads(content)
            answer = json.dumps(self.server.answer(asked["query"], asked.get("variables") or {})).encode()
        elif self.path.endswith("/file_stream"):
            self.server.stream(json.loads(content).get("files") or {})
        elif self.path.startswith("/uploads/"):
            self.server.uploads[self.path.removeprefix("/uploads/")] = content
        # the rest is telemetry
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the test says what went wrong."""
