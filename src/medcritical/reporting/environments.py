"""Were rows that are compared made alike? From the manifests behind them: one sentence for everything in which they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from medcritical.reporting.summary import Results, SummaryRow
from medcritical.store import Manifest, read_json
from medcritical.store.artefact import MANIFEST
from medcritical.store.environment import UNKNOWN_VERSION

SHOWN_NAMES = 6
_KINDS = {"sft": "training", "dpo": "training", "reference": "scoring"}
"""What a stage runs a model for; any other has it answer."""


def environment_notes(results: Results) -> list[str]:
    """In what the rows of these runs differ. Raises ArtefactError for a damaged manifest."""
    return describe_differences(results.rows, read_manifests(results))


def read_manifests(results: Results) -> list[list[Manifest | None]]:
    """For each row the manifests of its score and of all that this was made from; None for what the store no longer has."""
    read: dict[str, Manifest | None] = {}
    return [[read[name] for name in _made_of(row.artefact, results, read)] for row in results.rows]


def _made_of(artefact: str, results: Results, read: dict[str, Manifest | None]) -> list[str]:
    """The artefact and its inputs, their inputs, and so on, but for what was only measured against. Fills `read`."""
    found, waiting = list[str](), [artefact]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.append(name)
        if name not in read:
            path = results.folders[name] / MANIFEST if name in results.folders else None
            read[name] = read_json(path, Manifest) if path is not None and path.is_file() else None
        if (manifest := read[name]) is not None:
            waiting += [str(ref) for role, ref in manifest.inputs.items() if not role.startswith("target")]
    return found


def describe_differences(rows: Sequence[SummaryRow], made_of: Sequence[Collection[Manifest | None]]) -> list[str]:
    """One sentence for each trait that has more than one value, e.g. "environments differ: torch 2.12.0 (rejection_sft), 2.13.0
    (the others)", and one for rows of which something is not known: its manifest is gone, or older than environments are.

    Args:
        made_of: for each row, the manifests of all that it was made from.
    """
    values: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    unknown = set[int]()
    for place, manifests in enumerate(made_of):
        for manifest in manifests:
            if manifest is None or manifest.environment is None:
                unknown.add(place)
            else:
                for trait, value in _traits(manifest):
                    values[trait][place].add(value)
    differing = [
        f"environments differ: {trait} {_groups(by_row, rows)}"
        for trait, by_row in values.items()
        if len(set[str]().union(*by_row.values())) > 1
    ]
    if not unknown:
        return differing
    return [*differing, f"environments unknown: artefacts of an older version, or gone ({_names(unknown, rows)})"]


def _traits(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What can differ, with its value. Ranks, strategy and arithmetic are compared within one kind of work: a training under
    autocast and answers with bfloat16 weights are no difference."""
    environment = manifest.environment
    assert environment is not None
    yield "medcritical", manifest.medcritical
    yield "commit", _short(environment.commit)
    yield "Python", environment.python
    for name, version in environment.packages.items():
        yield name, version or "not installed"
    for model, version in environment.servers.items():
        if version != UNKNOWN_VERSION:
            yield f"server of {model}", version
    if environment.devices:
        kind = _KINDS.get(manifest.ref.stage, "answering")
        yield "device", " and ".join(environment.devices)
        yield f"ranks in {kind}", str(environment.ranks)
        if environment.strategy:
            yield f"strategy in {kind}", environment.strategy
        yield f"arithmetic in {kind}", environment.arithmetic


def _short(commit: str | None) -> str:
    """The first digits of a commit, and whether it was modified."""
    digits, _, modified = (commit or "none").partition(" ")
    return f"{digits[:12]} {modified}".strip()


def _groups(by_row: Mapping[int, set[str]], rows: Sequence[SummaryRow]) -> str:
    """Every value with the rows that have it; the most rows last, as "the others"."""
    groups: dict[str, set[int]] = defaultdict(set)
    for place, found in by_row.items():
        groups[" and ".join(sorted(found))].add(place)
    *fewer, most = sorted(groups, key=lambda value: (len(groups[value]), value))
    rest = "the others" if fewer and len(groups[most]) > 1 else _names(groups[most], rows)
    told = [f"{value} ({_names(groups[value], rows)})" for value in fewer]
    return ", ".join([*told, f"{most} ({rest})"])


def _names(places: Collection[int], rows: Sequence[SummaryRow]) -> str:
    """Rows by what tells them apart: the arm alone where all its rows are meant."""
    if len(places) == len(rows):
        return "all rows"
    has_runs = len({row.run for row in rows}) > 1
    arms: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        arms[row.run, row.arm].append(place)
    names = list[str]()
    for (run, arm), of_arm in arms.items():
        name, meant = (f"{run}:{arm}" if has_runs else arm), [place for place in of_arm if place in places]
        if len(meant) == len(of_arm):
            names.append(name)
        else:
            names += [f"{name} iteration {rows[place].iteration} seed {rows[place].seed}" for place in meant]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
