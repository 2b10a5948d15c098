"""What a server says that it is, for the manifest of what it has answered."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import httpx

from medcritical.store.environment import UNKNOWN_VERSION

_SECONDS = 1.0  # for all questions together: nothing is to wait for this


def server_version(url: str) -> str:
    """Of the server whose API's root is `url` (".../v1"): "0.11.0" (vLLM's /version), "llama.cpp b6700-1a2b3c4" (its /props).

    Else its `Server` header, else "unknown": a server that does not answer, or not within a second, is no error here. No API
    key is sent.
    """
    try:
        return asyncio.run(_ask(url.rstrip("/").removesuffix("/v1"), near=is_near(url)))
    except (httpx.HTTPError, TimeoutError):
        return UNKNOWN_VERSION


def is_near(url: str) -> bool:
    """True for a server on this machine, of whose ports a proxy knows nothing."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


async def _ask(root: str, *, near: bool) -> str:
    async with asyncio.timeout(_SECONDS), httpx.AsyncClient(timeout=_SECONDS, trust_env=not near) as client:
        version = await client.get(f"{root}/version")
        if told := _text(version, "version"):
            return told
        if told := _text(await client.get(f"{root}/props"), "build_info"):
            return f"llama.cpp {told}"
    return str(version.headers.get("Server", UNKNOWN_VERSION))


def _text(response: httpx.Response, field: str) -> str:
    """A field of a JSON object; empty where the server has no such page."""
    if response.status_code != 200:
        return ""
    try:
        told: Any = response.json()
    except ValueError:  # a page for people
        return ""
    return str(told.get(field, "")) if isinstance(told, dict) else ""
