"""A finished run as W&B sees it: one W&B run per pipeline run, grouped by its arms. Made from what the store holds."""

from __future__ import annotations

import sys
from pathlib import Path

from medcritical.config.load import to_plain
from medcritical.config.schema import Config
from medcritical.pipeline.plan import Plan
from medcritical.reporting.summary import read_summary
from medcritical.reporting.wandb_export import RunExport, export_run
from medcritical.store import Store, read_records

METRICS = "metrics.jsonl"


def export_to_wandb(config: Config, plan: Plan, store: Store, summary: Path) -> None:
    """Export the run as `logger` says."""
    folder = summary.parent
    run = RunExport(
        id=folder.name,
        name=folder.name,
        group=",".join(config.arms),
        job_type="pipeline",
        config=to_plain(config),
        series=_series(plan, store),
        summary=read_summary(summary).rows,
        figures=sorted(folder.glob("*.png")),
    )
    logger = config.logger
    place = export_run(
        run, mode=logger.wandb, project=logger.project, entity=logger.entity, tags=logger.tags, folder=folder
    )
    print(f"W&B run: {place}", file=sys.stderr)


def _series(plan: Plan, store: Store) -> list[tuple[str, list[dict[str, float]]]]:
    """The metrics of every training, by the label that the plan gives it."""
    found = []
    for call in plan.calls:
        path = store.folder(call.ref) / METRICS
        if path.is_file():
            found.append((call.label.replace(" ", "-").replace(",", ""), read_records(path, dict[str, float])))
    return found
