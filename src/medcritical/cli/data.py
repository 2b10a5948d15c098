"""`medcritical data`: which formats there are, what a loader makes of a file, and published files in one command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from medcritical.cli.exits import CommandParser, run_command
from medcritical.config.choices import DataFormat, OnError
from medcritical.data.downloads import BY_HAND, DOWNLOADS
from medcritical.data.load import read_questions
from medcritical.data.publications import PUBLICATIONS
from medcritical.data.report import LoadReport
from medcritical.data.traces import read_traces
from medcritical.errors import MedCriticalError


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 when a file is refused or cannot be had, or nothing in it is usable."""
    arguments = _make_parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "list":
        print("\n".join(list_formats()))
        return 0
    if arguments.command == "fetch":
        return fetch(arguments.name, arguments.to)
    return check_file(
        arguments.file,
        DataFormat(arguments.format),
        arguments.encoding,
        chain=arguments.chain,
        as_json=arguments.json,
    )


def list_formats() -> list[str]:
    """A block of lines for each format: data set, publisher, files and licence."""
    lines = []
    for format, source in PUBLICATIONS.items():
        lines += [f"{format.value}: {source.title}", f"  from     {source.publisher}", f"  files    {source.files}"]
        lines.append(f"  licence  {source.licence}")
        names = [name for name, download in DOWNLOADS.items() if download.format is format]
        lines += [f"  fetch    medcritical data fetch {name}" for name in names]
        lines += [f"  by hand  {name}: {one.reason}" for name, one in BY_HAND.items() if one.format is format]
    return lines


def fetch(name: str, folder: Path) -> int:
    """Downloads a data set's files into `folder`, says what they are, and returns the exit code."""
    from medcritical.data.fetch import fetch_file  # the other commands need no network library

    if name in BY_HAND:
        print(f"{name} cannot be fetched: {BY_HAND[name].reason}.", file=sys.stderr)
        return MedCriticalError.exit_code
    download = DOWNLOADS[name]
    source = PUBLICATIONS[download.format]
    print(f"{source.title}, from {source.publisher}\nlicence: {source.licence}")
    try:
        for remote in download.files:
            print(f"{remote.url}")
            fetched = fetch_file(remote, folder, progress=sys.stderr.isatty())
            known = "as published" if fetched.is_pinned else f"hash not published: kept in {fetched.path.name}.sha256"
            print(f"  {fetched.path}{' (was there)' if fetched.was_there else ''}\n  sha256 {fetched.sha256} ({known})")
            print("".join(f"  unpacked {path}\n" for path in fetched.unpacked), end="")
    except MedCriticalError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"use it with: medcritical {download.usage} paths.data={folder}")
    return 0


def check_file(path: Path, format: DataFormat, encoding: str, *, chain: str | None, as_json: bool) -> int:
    """Loads `path` as questions, or as traces whose chain is in field `chain`, prints the report, and returns the exit code."""
    told = {"encoding": encoding, "language": "", "source": format.value}
    try:
        report = (
            read_questions(path, format, **told, on_error=OnError.reject, split="test").report
            if chain is None
            else read_traces(path, format, chain, **told, on_error=OnError.reject).report
        )
    except MedCriticalError as error:
        print(error, file=sys.stderr)
        if as_json:
            print(json.dumps({**LoadReport(str(path)).to_dict(), "error": str(error)}, ensure_ascii=False))
        return error.exit_code
    print(
        json.dumps(report.to_dict(), ensure_ascii=False, indent=1)
        if as_json
        else "\n".join(report.lines(10, rest="--json has them all"))
    )
    if not report.accepted:
        what = format.value if chain is None else f"a {format.value} trace"
        print(f"{path}: no record of {report.read} can be used as {what}.", file=sys.stderr)
    return 0 if report.accepted else MedCriticalError.exit_code


def _make_parser() -> CommandParser:
    parser = CommandParser(prog="medcritical data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="formats with publisher and licence")
    fetch_command = commands.add_parser("fetch", help="download the published files of a data set, checked by sha256")
    fetch_command.add_argument("name", choices=[*DOWNLOADS, *BY_HAND])
    fetch_command.add_argument(
        "--to",
        type=Path,
        default=Path(os.environ.get("MEDCRITICAL_DATA", "data")),
        help="the data folder, paths.data of a run: MEDCRITICAL_DATA, or data",
    )
    check = commands.add_parser("check", help="load a file and say what happened to its records")
    check.add_argument("file", type=Path)
    check.add_argument("--format", required=True, choices=[format.value for format in PUBLICATIONS])
    check.add_argument(
        "--chain",
        metavar="FIELD",
        help="check a recorded teacher's traces, with the chain of thought in FIELD (teacher.chain): chain in jsonl",
    )
    check.add_argument("--encoding", default="utf-8", help="utf-8 unless stated; a byte order mark wins")
    check.add_argument("--json", action="store_true", help="the report as JSON, with every record that was left out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
