"""With what an artefact was made: the part of its manifest by which numbers of two machines can be told apart."""

from __future__ import annotations

import msgspec

from medcritical.records import Record

UNKNOWN_VERSION = "unknown"
"""Of a server that says nothing of itself, or was not asked because all its answers were on disk."""


class Environment(Record, frozen=True, kw_only=True):
    """Where and with what an artefact was made; `medcritical`'s version is in the manifest itself.

    `commit` is the git commit of the source tree, with " modified" after it where `src/` or `conf/` differ; None outside a
    checkout. `packages` are those that the stage could use, by name; None: not installed. `servers` are those that were asked,
    by the model's name ("student" for checkpoints): what each says that it is, or `UNKNOWN_VERSION`. The rest is of stages
    that ran a model themselves, and empty for others: names of the `devices`, `ranks` (also of those that started servers), the
    `strategy` as it was resolved, and the `arithmetic`, of which docs/configuration.md has all.
    """

    commit: str | None
    python: str
    packages: dict[str, str | None]
    servers: dict[str, str] = msgspec.field(default_factory=dict)
    devices: tuple[str, ...] = ()
    ranks: int = 1
    strategy: str = ""
    arithmetic: str = ""
