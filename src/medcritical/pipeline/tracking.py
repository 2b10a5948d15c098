"""A finished run as W&B sees it: one W&B run per cell, made from the run's folder and the store alone.

A run that ends exports itself this way, and `medcritical wandb sync` any run at any time: the same folder gives the same export.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medcritical.config.choices import WandbMode
from medcritical.errors import DataError
from medcritical.pipeline.monitor import read_rows
from medcritical.reporting.panels import (
    alarm_table,
    artefact_table,
    iteration_rows,
    pair_table,
    sample_table,
    training_series,
)
from medcritical.reporting.summary import SUMMARY, gather, main_arms, read_summary
from medcritical.reporting.trail import read_iterations, without_rewound
from medcritical.reporting.wandb_export import RunExport, export_run
from medcritical.store import read_json

CONFIG = "config.json"


def cell_id(folder: Path) -> str:
    """The identity of a run's cell: the name of its folder, which ends in the hash of the resolved configuration."""
    return folder.resolve().name


def describe_run(folder: Path, samples: int | None = None) -> RunExport:
    """What W&B is to show of a finished run, `samples` corrections per arm and iteration (None: as its `logger` says).

    Raises DataError for a folder without the run's configuration or summary.
    """
    config = _read_config(folder)
    results = gather([(folder, read_summary(folder / SUMMARY))])
    iterations = read_iterations(results)
    return RunExport(
        id=cell_id(folder),
        name=cell_id(folder),
        group="+".join(main_arms(results.rows)),
        job_type="cell",
        config=config,
        series=[*training_series(iterations), *_system(folder)],
        summary=results.rows,
        figures=sorted(folder.glob("*.png")),
        iterations=iteration_rows(iterations, results),
        tables={
            "samples": sample_table(iterations, config["logger"].get("samples", 0) if samples is None else samples),
            "pair_quality": pair_table(iterations),
            "alarms": alarm_table(iterations),
            "artefacts": artefact_table(results),
        },
    )


def export_folder(
    folder: Path,
    *,
    mode: WandbMode,
    project: str | None = None,
    entity: str | None = None,
    tags: Sequence[str] | None = None,
    samples: int | None = None,
) -> Path | None:
    """Export a finished run to W&B, its files under `<folder>/wandb`; the place of the W&B run, None when disabled.

    Project, entity, tags and number of samples are those of the run's own `logger` unless they are given.
    """
    run = describe_run(folder, samples)
    logger: Mapping[str, Any] = run.config["logger"]
    place = export_run(
        run,
        mode=mode,
        project=logger["project"] if project is None else project,
        entity=logger["entity"] if entity is None else entity,
        tags=logger["tags"] if tags is None else tags,
        folder=folder,
    )
    print(f"W&B run: {place}", file=sys.stderr)
    return place


def export_folders(folders: Iterable[Path], *, mode: WandbMode, **given: Any) -> None:
    """Export many finished runs, `given` as in `export_folder`. One that finds no server has waited and warned for all."""
    for folder in folders:
        place = export_folder(folder, mode=mode, **given)
        if mode is WandbMode.online and place is not None and place.name.startswith("offline-"):
            mode = WandbMode.offline


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} has no {CONFIG}: give the output folder of a run, as the run left it.")
    return read_json(folder / CONFIG, dict[str, Any])


def _system(folder: Path) -> list[tuple[str, list[Mapping[str, float]]]]:
    """The machine while the run's stages were made; nothing where nobody looked."""
    rows = read_rows(folder)
    return [("system", without_rewound(rows))] if rows else []
