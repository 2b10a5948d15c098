"""report: scores and checkpoints -> `report.json` (the run's summary), tables and figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medcritical.config.stages import ReportRow, ReportStage, StageConfig
from medcritical.records import Score
from medcritical.reporting.figures import Curve, curves_figure
from medcritical.reporting.pooling import pool_seeds
from medcritical.reporting.summary import Summary, SummaryRow, write_summary
from medcritical.reporting.tables import Table, cost_table, result_table, stage_cost_table, to_markdown
from medcritical.stages.compare import measure_differences, write_report
from medcritical.stages.context import Inputs, Output
from medcritical.stages.evaluate import PREDICTIONS, SCORE
from medcritical.stages.training import METRICS
from medcritical.store import read_json, read_records
from medcritical.store.jsonl import write_atomically

REPORT = "report.json"


def run(config: ReportStage, inputs: Inputs, output: Output) -> None:
    """Write one row per scored checkpoint. Costs are those of the checkpoint and all it was made from."""
    rows = [_row(config, row, number, inputs) for number, row in enumerate(config.rows)]
    predictions = {row.artefact: inputs[f"score-{number}"] / PREDICTIONS for number, row in enumerate(rows)}
    baseline = config.report.baseline
    differences = measure_differences(pool_seeds(rows), baseline, predictions, config.report.bootstrap)
    results = result_table(rows, differences, baseline)
    write_report(output.folder, rows, results, cost_table(rows))
    write_atomically(output.folder / "stages.md", to_markdown(_stage_costs(inputs)).encode("utf-8"))
    curves = [curve for number, row in enumerate(config.rows) if (curve := _curve(row, inputs[f"checkpoint-{number}"]))]
    if curves:
        curves_figure(curves, output.folder / "curves.png")
    store = inputs.store.root
    summary = Summary(
        store=os.path.relpath(store, output.folder),
        rows=tuple(rows),
        predictions={artefact: str(path.relative_to(store)) for artefact, path in predictions.items()},
    )
    write_summary(output.folder / REPORT, summary)


def _row(config: ReportStage, row: ReportRow, number: int, inputs: Inputs) -> SummaryRow:
    score = read_json(inputs[f"score-{number}"] / SCORE, Score)
    costs = inputs.store.total_costs(inputs.refs[f"checkpoint-{number}"])
    return SummaryRow(
        run=config.name,
        arm=row.arm,
        title=row.title,
        stage=row.stage,
        iteration=row.iteration,
        beta=row.beta,
        seed=row.seed,
        data=score.data,
        split=score.split,
        num_questions=score.num_questions,
        num_correct=score.num_correct,
        accuracy=score.accuracy,
        ci_low=score.ci_low,
        ci_high=score.ci_high,
        confidence=config.confidence,
        unparsed=score.num_unparsed,
        sound=score.num_sound,
        teacher_tokens=costs.teacher_tokens,
        student_tokens=costs.student_tokens,
        seconds=round(costs.seconds, 1),
        artefact=str(inputs.refs[f"checkpoint-{number}"]),
        chance=score.chance,
        commonest_letter_accuracy=score.commonest_letter_accuracy,
    )


def _stage_costs(inputs: Inputs) -> Table:
    """What each stage took, over every artefact that a score of this run rests on."""
    made = {key: manifest for ref in inputs.refs.values() for key, manifest in inputs.store.lineage(ref).items()}
    order = [stage.stage for stage in StageConfig.__subclasses__()]  # as declared: the direction of the data
    in_order = sorted(made.values(), key=lambda manifest: order.index(manifest.ref.stage))
    return stage_cost_table([(manifest.ref.stage, manifest.costs) for manifest in in_order])


def _curve(row: ReportRow, checkpoint: Path) -> Curve | None:
    """The preference metrics of one training; None for a checkpoint that no preference training made."""
    path = checkpoint / METRICS
    metrics: list[dict[str, Any]] = read_records(path, dict[str, Any]) if path.is_file() else []
    if not any("train/margin" in entry for entry in metrics):
        return None
    return Curve(title=row.title, iteration=row.iteration, rows=metrics)
