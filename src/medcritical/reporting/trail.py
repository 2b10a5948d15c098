"""What lies behind each scored checkpoint: its trainings, the pairs they used, the alarms. Read from the store.

A summary names the artefacts that a checkpoint was made from; their folders hold metrics, pair quality and corrections as JSON.
What is no longer in the store is missing here and nothing else: a report without it is still a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcritical.reporting.summary import Results, SummaryRow
from medcritical.store import ArtefactRef, Manifest, read_json, read_records, record_files
from medcritical.store.artefact import MANIFEST

METRICS, QUALITY, CORRECTIONS = "metrics.jsonl", "quality.json", "corrections.jsonl"

MetricRow = Mapping[str, float]


@dataclass(frozen=True)
class Training:
    """One training: its artefact, one row per logged optimizer step (each has `step`), what it warned of."""

    artefact: str
    rows: tuple[MetricRow, ...]
    alarms: tuple[str, ...]


@dataclass(frozen=True)
class Iteration:
    """A scored checkpoint with what was done for it since the checkpoint before.

    Args:
        row: its score.
        trainings: oldest first; stage 1 may have two, an untrained student has none.
        pairs: artefact of its preference pairs; None where nothing was paired, or the store no longer has it.
        quality: what `pair` counted about them; empty likewise.
        play: artefact of the attempts and corrections that they were made from; None likewise.
        play_alarms: what `play` warned of.
        corrections: file of the student's corrections; None likewise.
    """

    row: SummaryRow
    trainings: tuple[Training, ...] = ()
    pairs: str | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    play: str | None = None
    play_alarms: tuple[str, ...] = ()
    corrections: Path | None = None

    @property
    def alarms(self) -> list[tuple[str, str]]:
        """(artefact, sentence) of everything that was warned of."""
        of_play = [(self.play, sentence) for sentence in self.play_alarms if self.play is not None]
        return of_play + [(training.artefact, sentence) for training in self.trainings for sentence in training.alarms]


def read_iterations(results: Results) -> list[Iteration]:
    """One per row, in the rows' order. Raises ArtefactError for a file of the store that is damaged."""
    reader = _Reader(results)
    return [reader.iteration(row) for row in results.rows]


def without_rewound(rows: Iterable[MetricRow]) -> list[MetricRow]:
    """The rows of a training that was stopped and went on from an earlier step: those that it did again count once.

    A row whose `step` is not above the one before takes the place of all from that step on.
    """
    kept: list[MetricRow] = []
    for row in rows:
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        kept.append(row)
    return kept


def joined(trainings: Sequence[tuple[int, Sequence[MetricRow]]]) -> list[dict[str, float]]:
    """Rows of consecutive trainings, each given with its iteration, as one curve.

    `step`, `tokens` and `seconds` go on from where the training before ended; every row says its `iteration`.
    """
    curve: list[dict[str, float]] = []
    ends: dict[str, float] = {}
    for iteration, rows in trainings:
        starts = dict(ends)
        for row in rows:
            running = {name: starts.get(name, 0) + row[name] for name in ("step", "tokens", "seconds") if name in row}
            ends |= running
            curve.append({**row, **running, "iteration": iteration})
    return curve


class _Reader:
    """Follows inputs from a checkpoint; every file is read once, for arms share what they have in common."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.scored = {made_of[-1] for made_of in results.lineage.values() if made_of}
        self._manifests: dict[str, Manifest | None] = {}
        self._trainings: dict[str, Training | None] = {}

    def iteration(self, row: SummaryRow) -> Iteration:
        made_of = self.results.lineage.get(row.artefact, ())
        if not made_of:
            return Iteration(row)
        checkpoint = (
            self.input(made_of[-1], "candidate") or made_of[-1]
        )  # behind a gate: what was trained, let through or not
        scored = self.input(checkpoint, "scored")
        pairs = self.input(checkpoint if scored is None else scored, "pairs")
        play = None if pairs is None else self.input(pairs, "play")
        return Iteration(
            row,
            tuple(self.trainings(checkpoint)),
            pairs,
            {} if pairs is None else self.read_quality(pairs),
            play,
            () if play is None else self.alarms(play),
            None if play is None else self.file(play, CORRECTIONS),
        )

    def trainings(self, checkpoint: str) -> list[Training]:
        """Trainings back to the checkpoint before this one that was scored too, oldest first."""
        found: list[Training] = []
        at: str | None = checkpoint
        while at is not None and (training := self.training(at)) is not None:
            found.append(training)
            at = self.input(at, "checkpoint")
            if at in self.scored:
                break
        return found[::-1]

    def training(self, artefact: str) -> Training | None:
        """The training that made an artefact; None where none did."""
        if artefact not in self._trainings:
            path = self.file(artefact, METRICS)
            rows = None if path is None else tuple(without_rewound(read_records(path, dict[str, float])))
            self._trainings[artefact] = None if rows is None else Training(artefact, rows, self.alarms(artefact))
        return self._trainings[artefact]

    def alarms(self, artefact: str) -> tuple[str, ...]:
        manifest = self.manifest(artefact)
        return () if manifest is None else tuple(manifest.facts.get("alarms", ()))

    def read_quality(self, pairs: str) -> dict[str, Any]:
        path = self.file(pairs, QUALITY)
        return {} if path is None else read_json(path, dict[str, Any])

    def input(self, artefact: str, role: str) -> str | None:
        """The artefact that another one read in a role; None where it read none, or is gone."""
        manifest = self.manifest(artefact)
        ref: ArtefactRef | None = None if manifest is None else manifest.inputs.get(role)
        return None if ref is None else str(ref)

    def manifest(self, artefact: str) -> Manifest | None:
        if artefact not in self._manifests:
            path = self.file(artefact, MANIFEST)
            self._manifests[artefact] = None if path is None else read_json(path, Manifest)
        return self._manifests[artefact]

    def file(self, artefact: str, name: str) -> Path | None:
        """A file of an artefact, by which `read_records` finds its parts too; None where it is not there."""
        folder = self.results.folders.get(artefact)
        return folder / name if folder is not None and record_files(folder / name) else None
