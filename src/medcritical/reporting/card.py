"""A model card: what a checkpoint was made from, how it scored, and whose licences it stands under."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medcritical.config.choices import DataFormat, TeacherKind
from medcritical.data.publications import PUBLICATIONS
from medcritical.evaluation.statistics import wilson_interval
from medcritical.reporting.summary import Summary, SummaryRow
from medcritical.reporting.tables import level
from medcritical.store import Manifest, Store, read_json
from medcritical.store.artefact import MANIFEST


def write_card(path: Path, checkpoint: Path, summary: Summary | None, *, is_adapter: bool) -> None:
    """Write the card of the checkpoint in the store's folder `checkpoint`; the rows of `summary` are its scores."""
    own = read_json(checkpoint / MANIFEST, Manifest)
    manifests = {str(made.ref): made for made in Store(checkpoint.parent.parent).lineage(own.ref).values()}
    name = own.facts.get("let_through", str(own.ref))  # a gate's weights are those of a training before it
    lines = card_lines(manifests[name], list(manifests.values()), summary, is_adapter=is_adapter)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def card_lines(own: Manifest, made_of: Sequence[Manifest], summary: Summary | None, *, is_adapter: bool) -> list[str]:
    """The card's lines. `made_of` are the manifests of the checkpoint and all it was made from."""
    by_stage: dict[str, Manifest] = {}
    for manifest in made_of:
        by_stage.setdefault(manifest.ref.stage, manifest)
    kind = "LoRA adapter" if is_adapter else "Model"
    lines = [f"# {kind} trained by medcritical {own.medcritical}", ""]
    lines += [
        "Trained by the method of MedCritical (arXiv 2509.23368) for research on exam questions. **Not a medical device: its "
        "answers can be wrong and must not be used to treat people.**",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in _facts(own, by_stage, summary)]
    lines += ["", "## Scores", "", *_scores(summary), "", "## Licences", ""]
    lines += [f"- {note}" for note in _licences(by_stage)]
    return lines


def _facts(own: Manifest, by_stage: dict[str, Manifest], summary: Summary | None) -> Iterator[tuple[str, Any]]:
    yield "artefact", own.ref
    if "student" in by_stage:
        student = by_stage["student"].config["student"]
        yield "base model", student["source"] or "none, from random weights"
    if "prepare" in by_stage:
        yield "questions", summary.rows[0].data if summary is not None else by_stage["prepare"].config["data"]["format"]
    if "teach" in by_stage:
        yield "teacher", _teacher(by_stage["teach"])
    if "steps" in own.facts:  # a student from scratch took none
        yield "optimizer steps", own.facts["steps"]
    if summary is not None:
        yield "seed", summary.rows[0].seed
    if "formula" in own.facts:
        yield "loss", f"`{own.facts['formula']}`"


def _scores(summary: Summary | None) -> list[str]:
    if summary is None:
        return ["None: exported from the store. Export from a run folder to have its scores here."]
    head = [
        f"| arm | iteration | data | questions | accuracy | {level(summary.confidence)} over questions | chance |",
        "|---|---:|---|---:|---:|---|---:|",
    ]
    return head + [_score(row, summary.confidence) for row in summary.rows]


def _score(row: SummaryRow, confidence: float) -> str:
    low, high = wilson_interval(row.num_correct, row.num_questions, confidence)
    return (
        f"| {row.title} | {row.iteration} | {row.data}, {row.split} | {row.num_questions} | {row.accuracy:.1%} | "
        f"{low:.1%} to {high:.1%} | {row.chance:.1%} |"
    )


def _licences(by_stage: dict[str, Manifest]) -> Iterator[str]:
    if "student" not in by_stage or by_stage["student"].config["student"]["source"]:
        yield "These weights derive from the base model: its licence holds for them."
    if "prepare" in by_stage:
        format = DataFormat(by_stage["prepare"].config["data"]["format"])
        publication = PUBLICATIONS.get(format)
        if publication is None:
            yield "The questions were made by this program (Apache-2.0)."
        else:
            yield f"Questions: {publication.title}, {publication.publisher}; licence: {publication.licence}."
    if "teach" in by_stage and by_stage["teach"].config["teacher"]["kind"] != TeacherKind.oracle.value:
        yield f"Thoughts were written by {_teacher(by_stage['teach'])}: see its terms on training models."


def _teacher(teach: Manifest) -> str:
    """Who wrote the thoughts: the model that was asked, or what kind of teacher it was."""
    teacher = teach.config["teacher"]
    if teacher["kind"] == TeacherKind.recorded.value:
        return "whoever wrote the recorded traces"
    return str(teacher["engine"]["model"] if teacher["kind"] == TeacherKind.engine.value else "the clinic's oracle")
