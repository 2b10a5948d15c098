"""report: scores and checkpoints -> `report.json` (the run's summary), tables and figures."""

from __future__ import annotations

import os

from medcritical.config.schema import PricesConfig
from medcritical.config.stages import ReportRow, ReportStage
from medcritical.records import Score
from medcritical.reporting.contents import make_tables
from medcritical.reporting.figures import accuracy_figure
from medcritical.reporting.grids import alarm_list
from medcritical.reporting.ledger import priced
from medcritical.reporting.markup import to_csv, to_markdown
from medcritical.reporting.measuring import PredictionReader, measure
from medcritical.reporting.pooling import pool_seeds
from medcritical.reporting.published import published_table
from medcritical.reporting.summary import LedgerEntry, Summary, SummaryRow, gather, write_summary
from medcritical.reporting.trail import read_iterations
from medcritical.reporting.trajectories import curves_figure, group_curves
from medcritical.stages.context import Inputs, Output
from medcritical.stages.results import PREDICTIONS, REPORT, SCORE
from medcritical.store import read_json
from medcritical.store.jsonl import write_atomically


def run(config: ReportStage, inputs: Inputs, output: Output) -> None:
    """Write one row per scored checkpoint. Costs are those of the checkpoint and all it was made from."""
    rows = [_row(config, row, number, inputs) for number, row in enumerate(config.rows)]
    store = inputs.store.root
    summary = Summary(
        store=os.path.relpath(store, output.folder),
        confidence=config.confidence,
        rows=tuple(rows),
        predictions={
            row.artefact: str((inputs[f"score-{number}"] / PREDICTIONS).relative_to(store))
            for number, row in enumerate(rows)
        },
        scores={row.artefact: _score(number, inputs) for number, row in enumerate(rows)},
        lineage={row.artefact: _lineage(number, inputs) for number, row in enumerate(rows)},
        scoring={row.artefact: _scoring(number, inputs) for number, row in enumerate(rows)},
        ledger=_ledger(config.report.prices, inputs),
    )
    results = gather([(output.folder, summary)])
    reader = PredictionReader(results.predictions)
    measured = measure(results, config.report.baseline, config.confidence, reader)
    reader.warn_of_missing()
    tables = make_tables(results, measured)
    if config.published:
        tables = {**tables, "published": published_table(config.published, rows, measured)}
    iterations = read_iterations(results)
    if (alarms := alarm_list(iterations).table).rows:
        tables = {**tables, "alarms": alarms}
    for name, table in tables.items():
        write_atomically(output.folder / f"{name}.md", to_markdown(table).encode("utf-8"))
        write_atomically(output.folder / f"{name}.csv", to_csv(table).encode("utf-8"))
    accuracy_figure(pool_seeds(rows), measured.intervals, output.folder / "accuracy.png")
    for name, curves in group_curves(iterations).items():
        curves_figure(curves, output.folder / f"{name}.png")
    write_summary(output.folder / REPORT, summary)


def _score(number: int, inputs: Inputs) -> Score:
    return read_json(inputs[f"score-{number}"] / SCORE, Score)


def _lineage(number: int, inputs: Inputs) -> tuple[str, ...]:
    """What a row's checkpoint was made from, the checkpoint last."""
    made_of = inputs.store.lineage(inputs.refs[f"checkpoint-{number}"])
    return tuple(str(manifest.ref) for manifest in reversed(made_of.values()))


def _scoring(number: int, inputs: Inputs) -> tuple[str, ...]:
    """What a row's score was made from besides its checkpoint and the questions: the answers, then the score itself."""
    score = inputs.refs[f"score-{number}"]
    made_of = inputs.store.manifest(score).inputs
    return (*(str(ref) for ref in made_of.values() if ref.stage == "answer"), str(score))


def _ledger(prices: PricesConfig | None, inputs: Inputs) -> dict[str, LedgerEntry]:
    """An entry for every scoring and for every artefact that the scored checkpoint was made from."""
    scores = [ref for role, ref in inputs.refs.items() if role.startswith("score-")]
    manifests = {manifest.ref: manifest for ref in scores for manifest in inputs.store.lineage(ref).values()}
    return {
        str(ref): LedgerEntry(
            stage=ref.stage, costs=manifest.costs, money=None if prices is None else priced(manifest.costs, prices)
        )
        for ref, manifest in sorted(manifests.items(), key=lambda item: str(item[0]))
    }


def _equal(row: ReportRow, number: int, inputs: Inputs) -> str:
    """In what the row was made equal with another one; seconds are those of a device, which is named."""
    device = inputs.manifest(f"checkpoint-{number}").facts.get("timed_on")
    return row.equal if device is None else f"{row.equal} on {device}"


def _row(config: ReportStage, row: ReportRow, number: int, inputs: Inputs) -> SummaryRow:
    score = _score(number, inputs)
    costs = inputs.store.total_costs(inputs.refs[f"checkpoint-{number}"])
    return SummaryRow(
        run=config.name,
        arm=row.arm,
        title=row.title,
        stage=row.stage,
        iteration=row.iteration,
        beta=row.beta,
        seed=row.seed,
        data=config.data,
        split=score.split,
        num_questions=score.num_questions,
        num_correct=score.num_correct,
        accuracy=score.accuracy,
        unparsed=score.num_unparsed,
        undecided=score.num_undecided,
        verifier=config.verifier,
        sound=score.num_sound,
        teacher_tokens=costs.teacher_tokens,
        student_tokens=costs.student_tokens,
        seconds=round(costs.seconds, 1),
        artefact=str(inputs.refs[f"score-{number}"]),
        chance=score.chance,
        commonest_letter_accuracy=score.commonest_letter_accuracy,
        equal=_equal(row, number, inputs),
        data_seed=row.data_seed,
        teacher_seed=row.teacher_seed,
    )
