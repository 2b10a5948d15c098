"""Which checkpoint ranks find together, and what each of them reads for it.

    torchrun ... finding.py CHECKPOINTS FOLDER

leaves `<rank>.json` in FOLDER: the step found, what was told, the names of the files read, and what is said to another layout.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from medcritical.errors import ConfigError
from medcritical.training.checkpoints import find_newest
from medcritical.training.ranks import join_ranks, leave_ranks


def main(root: Path, folder: Path) -> None:
    """Find it, then with a layout that it does not have."""
    ranks, told, read, is_on = join_ranks(torch.device("cpu"), timeout_seconds=60), list[str](), list[str](), True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if is_on and event == "open" and str(arguments[0]).startswith(str(root)):
            read.append(str(Path(arguments[0]).relative_to(root)))

    sys.addaudithook(watch)
    found = find_newest(root, {"ranks": 2}, told.append, ranks)
    is_on, refused = False, ""
    try:
        find_newest(root, {"ranks": 4}, lambda words: None, ranks)
    except ConfigError as error:
        refused = str(error)
    outcome = {"step": None if found is None else found.step, "told": told, "read": sorted(read), "refused": refused}
    (folder / f"{ranks.rank}.json").write_text(json.dumps(outcome), encoding="utf-8")
    leave_ranks()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
