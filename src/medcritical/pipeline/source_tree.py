"""Which source this program is: the git commit that it runs from."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import medcritical

_WATCHED = ("src", "conf")
_SECONDS = 10.0  # for git on a slow disk


@cache
def source_commit() -> str | None:
    """The commit that the package lies in, " modified" after it where `src/` or `conf/` differ; None outside a checkout.

    Asked once per process. Of a package that is installed into a checkout of something else nothing is said: it must be
    tracked there.
    """
    return commit_of(Path(medcritical.__file__))


def commit_of(file: Path) -> str | None:
    """The same of the checkout that tracks `file`."""
    root = _git(file.parent, "rev-parse", "--show-toplevel")
    if root is None or _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit, changes = _git(Path(root), "rev-parse", "HEAD"), _git(Path(root), "status", "--porcelain", "--", *_WATCHED)
    return f"{commit} modified" if changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it is not installed, refuses, or takes too long."""
    try:
        said = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() if said.returncode == 0 else None
