"""`medcritical store`: what lies in the store, whether it is as it was written, and removing what no run needs."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcritical.cli.exits import CommandParser, run_command
from medcritical.errors import ArtefactError, DataError
from medcritical.pipeline.named import Named, named_by_runs
from medcritical.reporting.tables import Table
from medcritical.reporting.terminal import print_table
from medcritical.store.in_use import forget_users, upkeep, used_names
from medcritical.store.shared import ENGINES, MERGED, folder_bytes, remove_unused, unused_folders
from medcritical.store.upkeep import Artefact, State, date_of, remove, survey, unneeded, verify

STATES: dict[State, str] = {
    "older": "of an older version, never reused; prune removes those that no run folder names",
    "newer": "of a newer version, never reused; prune removes those that no run folder names",
    "damaged": "with a manifest that cannot be read; the run's command makes them again, prune removes the others",
    "unfinished": "unfinished: stages that run, or were stopped and go on with the same command",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0; 1 when `verify` finds a difference; 2 for what a user can mend."""
    arguments = make_parser().parse_args(argv)
    return run_command(lambda: int(arguments.command(arguments)))


def make_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="medcritical store", description=__doc__)
    commands = parser.add_subparsers(required=True)
    status_command = commands.add_parser("status", help="artefacts and bytes, by stage and by run")
    status_command.set_defaults(command=status)
    verify_command = commands.add_parser("verify", help="compare all files with the hashes in their manifests")
    verify_command.set_defaults(command=check)
    prune_command = commands.add_parser("prune", help="artefacts that no run needs; shown only, unless --yes is given")
    prune_command.set_defaults(command=prune)
    for command in (status_command, verify_command, prune_command):
        command.add_argument(
            "--store",
            type=Path,
            default=Path(os.environ.get("MEDCRITICAL_STORE", "outputs/store")),
            help="the store's folder, paths.store of a run: MEDCRITICAL_STORE, or outputs/store",
        )
        command.add_argument("--json", action="store_true", help="as JSON")
    for command in (status_command, prune_command):
        command.add_argument(
            "--outputs",
            type=Path,
            action="append",
            metavar="DIR",
            help="folder of runs, paths.outputs; give it for each (default: outputs)",
        )
    prune_command.add_argument(
        "--older-than", type=_days, default=0.0, metavar="DAYS", help="only those not written to since"
    )
    prune_command.add_argument("--yes", action="store_true", help="remove them")
    return parser


def status(arguments: argparse.Namespace) -> int:
    """Print what lies in the store; 0."""
    artefacts = survey(arguments.store)
    runs = named_by_runs(_outputs(arguments, must_exist=False), arguments.store)
    states = Counter(artefact.state for artefact in artefacts)
    others = folder_bytes(arguments.store / ENGINES)
    stages = {
        stage: _sizes([artefact for artefact in artefacts if artefact.stage == stage])
        for stage in sorted({artefact.stage for artefact in artefacts})
    }
    by_run = {str(folder): _sizes_of_run(artefacts, runs, folder) for folder in runs}
    total = _sizes(artefacts)
    if arguments.json:
        told = {"store": str(arguments.store), **total, "engines_bytes": others, "states": dict(states)}
        print(json.dumps({**told, "stages": stages, "runs": by_run}, indent=1))
        return 0
    notes = [f"{states[state]} {what}" for state, what in STATES.items() if states[state]]
    notes.append(f"{ENGINES}: {readable(others)} of servers' answers and logs, and models converted or merged for them")
    rows = [(stage, str(one["artefacts"]), readable(one["bytes"])) for stage, one in stages.items()]
    rows.append(("all", str(total["artefacts"]), readable(total["bytes"])))
    print_table(Table(("stage", "artefacts", "size"), tuple(rows), tuple(notes)), str(arguments.store))
    if by_run:
        header = ("run", "artefacts", "size", "needed by it alone")
        lines = tuple(
            (run, str(one["artefacts"]), readable(one["bytes"]), readable(one["bytes_alone"]))
            for run, one in by_run.items()
        )
        print_table(Table(header, lines), "By run")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Print what differs from the manifests; 1 where something does, else 0."""
    artefacts = survey(arguments.store)
    faults = [fault for artefact in artefacts if not artefact.is_locked for fault in verify(artefact)]
    number, size = len(artefacts), readable(sum(artefact.bytes for artefact in artefacts))
    if arguments.json:
        found = [{"artefact": fault.artefact, "file": fault.file, "fault": fault.fault} for fault in faults]
        print(json.dumps({"store": str(arguments.store), "artefacts": number, "faults": found}, indent=1))
    else:
        for fault in faults:
            print(f"{fault.artefact}/{fault.file} {fault.fault}")
        print(f"{arguments.store}: {number} artefacts, {size}: {len(faults)} files differ from their manifests.")
    return 1 if faults else 0


@dataclass(frozen=True)
class Pruned:
    """What `prune --yes` did: artefacts removed, those that belong to others, and bytes of merged models."""

    removed: list[Artefact]
    refused: list[Artefact]
    merged_bytes: int


def prune(arguments: argparse.Namespace) -> int:
    """Print, and with `--yes` remove, what is needed by no run folder and no running command; 0.

    Raises:
        DataError: there is no folder of a run of this store, so that everything would go.
        ArtefactError: the store or a run's plan cannot be read, the disk cannot be written, or an artefact is another user's;
            the others are removed before that is said.
    """
    if not arguments.yes:
        _show(arguments, _candidates(arguments), _merged(arguments), None)
        return 0
    survey(arguments.store)  # says that there is no store before a lock is made in it
    with upkeep(arguments.store):
        candidates, merged = _candidates(arguments), _merged(arguments)
        pruned = _remove(candidates, arguments.store)
        forget_users(arguments.store)
    _show(arguments, candidates, merged, pruned)
    if pruned.refused:
        raise ArtefactError(
            f"{len(pruned.refused)} artefacts belong to another user and were left ({pruned.refused[0].name} is the first): "
            "ask that user to give the same command."
        )
    return 0


def _remove(candidates: Sequence[Artefact], store: Path) -> Pruned:
    removed, refused = list[Artefact](), list[Artefact]()
    for artefact in candidates:
        try:
            if remove(artefact):
                removed.append(artefact)
        except ArtefactError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            refused.append(artefact)
    return Pruned(removed, refused, remove_unused(store / ENGINES, MERGED))


def _merged(arguments: argparse.Namespace) -> dict[str, int]:
    """Bytes of the models merged for servers that nobody asks any more, by their place in the store."""
    unused = unused_folders(arguments.store / ENGINES, MERGED)
    return {str(folder.relative_to(arguments.store)): folder_bytes(folder) for folder in unused}


def _candidates(arguments: argparse.Namespace) -> list[Artefact]:
    artefacts = survey(arguments.store)
    outputs = _outputs(arguments, must_exist=True)
    runs = named_by_runs(outputs, arguments.store)
    if not any(arguments.store.resolve() in run.stores for run in runs.values()):
        raise DataError(
            f"no run of this store lies below {', '.join(map(str, outputs))}, so that everything in {arguments.store} would "
            "go: give the folder of its runs with --outputs (after a move, give the command of one of them again), or remove "
            "the store's folder itself."
        )
    named = {name for run in runs.values() for name in run.artefacts} | used_names(arguments.store)
    return unneeded(artefacts, named, arguments.older_than, time.time())


def _show(
    arguments: argparse.Namespace, candidates: list[Artefact], merged: dict[str, int], pruned: Pruned | None
) -> None:
    removed = None if pruned is None else [one.name for one in pruned.removed]
    size = sum(one.bytes for one in (candidates if pruned is None else pruned.removed))
    merged_bytes = sum(merged.values()) if pruned is None else pruned.merged_bytes
    if arguments.json:
        listed = [
            {"artefact": one.name, "bytes": one.bytes, "state": one.state, "written": date_of(one)}
            for one in candidates
        ]
        told = {"store": str(arguments.store), "artefacts": listed, "bytes": size, "merged": merged}
        refused = [] if pruned is None else [one.name for one in pruned.refused]
        print(json.dumps({**told, "merged_bytes": merged_bytes, "removed": removed, "refused": refused}, indent=1))
        return
    rows = [(one.name, str(one.state), date_of(one), readable(one.bytes)) for one in candidates]
    rows += [(folder, "merged for a server", "", readable(bytes_)) for folder, bytes_ in merged.items()]
    if rows:
        print_table(Table(("artefact", "state", "written", "size"), tuple(rows)), "Needed by no run")
    beside = f", and {readable(merged_bytes)} of models merged for servers" if merged_bytes else ""
    if pruned is None:
        hint = "; add --yes to remove them" if rows else ""
        print(f"{len(candidates)} artefacts, {readable(size)}{beside}, would be removed{hint}.")
    else:
        left = len(candidates) - len(pruned.removed) - len(pruned.refused)
        busy = f"; {left} are being made just now" if left else ""
        print(f"{len(pruned.removed)} artefacts removed, {readable(size)}{beside}{busy}.")


def _sizes(artefacts: Sequence[Artefact]) -> dict[str, Any]:
    return {"artefacts": len(artefacts), "bytes": sum(artefact.bytes for artefact in artefacts)}


def _sizes_of_run(artefacts: Iterable[Artefact], runs: Mapping[Path, Named], folder: Path) -> dict[str, Any]:
    own = [artefact for artefact in artefacts if artefact.name in runs[folder].artefacts]
    elsewhere = {name for other, others in runs.items() if other != folder for name in others.artefacts}
    return {**_sizes(own), "bytes_alone": sum(one.bytes for one in own if one.name not in elsewhere)}


def _outputs(arguments: argparse.Namespace, *, must_exist: bool) -> list[Path]:
    """The folders of runs; without any given, and none needed, those that are there."""
    if arguments.outputs is None and not must_exist and not Path("outputs").is_dir():
        return []
    return arguments.outputs or [Path("outputs")]


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days: give 0 or more")
    return days


def readable(size: int) -> str:
    """Bytes for people: "999 B", "1.5 kB", "28.0 GB" (powers of 1000, as disks are sold)."""
    number, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while number >= 999.95 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{size} B" if units[0] == "B" else f"{number:.1f} {units[0]}"


if __name__ == "__main__":
    sys.exit(main())
