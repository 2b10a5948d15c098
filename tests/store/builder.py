"""A worker in a process of its own: makes one artefact and dies where it is told to.

    python builder.py STORE KEY DIES_AT [LOG GO]

With LOG and GO it reports to LOG, and once the artefact's folder is there waits for the file GO.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from medcritical.store import ArtefactRef, Costs, Store
from medcritical.store import artefact as artefacts

POINTS = ("lock", "mkdir", "first file", "all files", "hashing", "rename", "renamed", "complete", "done")


def make(
    store: Store,
    ref: ArtefactRef,
    *,
    reach: Callable[[str], None] = lambda point: None,
    report: Callable[[str], None] = lambda event: None,
    go: Path | None = None,
) -> None:
    """What a worker does, step by step."""
    report("asks")
    with store.lock(ref):
        reach("lock")
        if store.is_complete(ref):
            report("shares")
            return
        report("builds")
        with store.build(ref) as folder:
            reach("mkdir")
            (folder / "first.txt").write_text("first\n" * 1000, encoding="utf-8")
            reach("first file")
            (folder / "part").mkdir()
            (folder / "part" / "second.txt").write_text("second\n", encoding="utf-8")
            reach("all files")
            while go is not None and not go.exists():
                time.sleep(0.01)
            store.complete(ref, version=1, config={"seed": 0}, inputs={}, facts={}, costs=Costs(student_tokens=3))
            reach("complete")
        reach("done")


def watch_completion(reach: Callable[[str], None]) -> None:
    """Tell the points within `Store.complete`: while files are hashed, before and after the manifest gets its name."""
    hash_file, replace = artefacts.hash_file, Path.replace

    def watched_hash(path: Path) -> str:
        reach("hashing")
        return hash_file(path)

    def watched_replace(path: Path, target: Path) -> Path:
        reach("rename")
        moved = replace(path, target)
        reach("renamed")
        return moved

    artefacts.hash_file, Path.replace = watched_hash, watched_replace  # type: ignore[assignment,method-assign]


def main(root: str, key: str, dies_at: str, log: str = os.devnull, go: str | None = None) -> None:
    """See above."""

    def reach(point: str) -> None:
        if point == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def report(event: str) -> None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(event + "\n")

    watch_completion(reach)
    ref = ArtefactRef(stage="pair", key=key)
    make(Store(Path(root)), ref, reach=reach, report=report, go=Path(go) if go else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
