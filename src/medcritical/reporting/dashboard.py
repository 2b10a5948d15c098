"""W&B dashboards as code: a workspace over the runs of a project, and a report with the paper's tables.

Built by `wandb-workspaces` (extra `dashboards`) from what the runs say; nothing here needs a network until it is published.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from medcritical.errors import ConfigError
from medcritical.reporting.markup import to_markdown
from medcritical.reporting.panels import ITERATION
from medcritical.reporting.summary import Results, main_arms
from medcritical.reporting.tables import Table

NAME = "MedCritical"
BY_BETA = "config:selfplay.beta"


@dataclass(frozen=True)
class Place:
    """A W&B project."""

    entity: str
    project: str


@dataclass(frozen=True)
class Panel:
    """A line plot: its title, the metric of its horizontal axis, the metrics drawn, whether a line is a beta or a run."""

    title: str
    x: str
    y: tuple[str, ...]
    is_by_beta: bool = False


def parse_place(text: str) -> Place:
    """The project that ENTITY/PROJECT names. Raises ConfigError for anything else."""
    entity, slash, project = text.partition("/")
    if not entity or not slash or not project or "/" in project:
        raise ConfigError(f"{text!r} is no W&B project: write ENTITY/PROJECT, as in my-team/medcritical.")
    return Place(entity, project)


def make_sections(results: Results) -> dict[str, list[Panel]]:
    """The panels by section heading: accuracy by iteration, margins, log-probabilities, costs, slices, pairs and health."""
    rows = results.rows
    data = _unique((row.data, row.split) for row in rows)
    trained = _unique(row.arm for row in rows if row.iteration > 0)
    once = [arm for arm in main_arms(rows) if arm not in trained]
    contrasted = _unique(row.arm for row in rows if row.beta is not None)
    accuracy = [
        Panel(f"{arm}: accuracy, {name} {split}", ITERATION, (f"accuracy/{name}/{split}/{arm}",), is_by_beta=True)
        for name, split in data
        for arm in (*trained, *once)
    ]
    sections = {
        "Accuracy by iteration": accuracy,
        "Margin": [_curve(arm, "margin", "train/margin") for arm in contrasted],
        "Log-probabilities": [
            _curve(arm, "chosen and rejected", "train/chosen_logp", "train/rejected_logp") for arm in contrasted
        ],
        "Cost": [_cost(arm) for arm in trained],
        "Slices": [_slices(results, arm) for arm in (*trained, *once)],
        "Pairs": [_by_iteration("pairs", arm, "overlap", "length_gap_words", "verified") for arm in trained],
        "Health": [_by_iteration("health", arm, "alarms", "malformed_attempts", "unparsed") for arm in trained],
    }
    kept = {heading: [panel for panel in panels if panel.y] for heading, panels in sections.items()}
    return {heading: panels for heading, panels in kept.items() if panels}


def make_workspace(place: Place, sections: Mapping[str, Sequence[Panel]]) -> Any:
    """The `wandb_workspaces` Workspace, its lines grouped by beta where a panel says so. Raises ConfigError without the extra."""
    workspaces, reports = _library()
    return workspaces.Workspace(
        entity=place.entity,
        project=place.project,
        name=NAME,
        sections=[
            workspaces.Section(name=heading, panels=_plots(reports, panels), is_open=number == 0)
            for number, (heading, panels) in enumerate(sections.items())
        ],
    )


def make_document(place: Place, sections: Mapping[str, Sequence[Panel]], tables: Mapping[str, Table]) -> Any:
    """The `wandb_workspaces` Report: the tables by heading as Markdown, then every section's panels over the project's runs."""
    _, reports = _library()
    blocks = [reports.TableOfContents()]
    for heading, table in tables.items():
        blocks += [reports.H2(heading), reports.MarkdownBlock(text=to_markdown(table))]
    for heading, panels in sections.items():
        # A run set that names no project is the report's own; naming it would ask the server for its number.
        grid = reports.PanelGrid(runsets=[reports.Runset(name="all runs")], panels=_plots(reports, panels))
        blocks += [reports.H2(heading), grid]
    return reports.Report(entity=place.entity, project=place.project, title=NAME, blocks=blocks, width="fluid")


def to_json(workspace: Any, report: Any) -> str:
    """What would be sent, as JSON: `workspace` and `report`."""
    specs = {"workspace": workspace._to_model(), "report": report._to_model()}  # the library has no public name for it
    content = {name: json.loads(model.spec.model_dump_json(by_alias=True)) for name, model in specs.items()}
    return json.dumps(content, indent=2, ensure_ascii=False)


def publish(workspace: Any, report: Any) -> list[str]:
    """Save both at W&B; their addresses. Raises ConfigError when W&B is not reachable, not logged in, or says no."""
    import requests
    import wandb
    from wandb.sdk.lib.service.service_connection import (
        WandbApiFailedError,  # a server's refusal; it has no public name
    )

    refused = (wandb.errors.Error, WandbApiFailedError, requests.RequestException, ValueError)
    try:
        return [str(workspace.save().url), str(report.save().url)]
    except refused as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"W&B did not take the dashboard: {reason}; `--json` prints it without a server.") from error


def _library() -> tuple[ModuleType, ModuleType]:
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise ConfigError("dashboards need wandb-workspaces: pip install 'medcritical[dashboards]'.") from error
    return workspaces, reports


def _plots(reports: ModuleType, panels: Sequence[Panel]) -> list[Any]:
    """The panels two to a row of the grid, which is 24 wide."""
    return [
        reports.LinePlot(
            title=panel.title,
            x=panel.x,
            y=list(panel.y),
            layout=reports.Layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8),
            **({"groupby": BY_BETA, "aggregate": True, "groupby_aggfunc": "mean"} if panel.is_by_beta else {}),
        )
        for number, panel in enumerate(panels)
    ]


def _curve(arm: str, title: str, *metrics: str) -> Panel:
    return Panel(f"{arm}: {title} (nats)", f"{arm}/step", tuple(f"{arm}/{metric}" for metric in metrics))


def _by_iteration(prefix: str, arm: str, *names: str) -> Panel:
    return Panel(f"{arm}: {', '.join(names)}", ITERATION, tuple(f"{prefix}/{arm}/{name}" for name in names))


def _cost(arm: str) -> Panel:
    return _by_iteration("cost", arm, "teacher_tokens", "student_tokens")


def _slices(results: Results, arm: str) -> Panel:
    scores = [results.scores[row.artefact] for row in results.rows if row.arm == arm]
    parts = _unique(f"{part.annotation}/{part.value}" for score in scores for part in score.slices)
    return Panel(f"{arm}: accuracy by slice", ITERATION, tuple(f"slices/{arm}/{part}" for part in parts))


def _unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))
