"""Export of a run to Weights & Biases. The local JSONL stays the truth: an export can be repeated at any time."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from medcritical.config.choices import WandbMode
from medcritical.errors import ConfigError, DataError
from medcritical.reporting.panels import ITERATION, Grid
from medcritical.reporting.summary import SummaryRow
from medcritical.store.jsonl import readable_write_errors

CONNECT_SECONDS = 8.0  # a refused or silent server costs about this long, then the export goes to disk
REDACTED = "[redacted]"
SECRETS = {"key", "apikey", "token", "secret", "secrets", "password", "passwd"}
STEP = "step"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunExport:
    """What one W&B run shows.

    Args:
        id: stable name of the run at W&B; an export under the same id replaces the one before.
        name, group, job_type: as W&B uses them.
        config: the resolved configuration; values under keys that name a secret are left out.
        series: (prefix, rows) per curve; every row has `step`, which is the axis of that series alone.
        summary: one table row per scored checkpoint, all of one seed and one beta.
        figures: PNG files, shown under their stem.
        iterations: rows with `iteration`, which is the axis of everything in them.
        tables: by name; one without a row is left out.
    """

    id: str
    name: str
    group: str
    job_type: str
    config: Mapping[str, Any]
    series: Sequence[tuple[str, Sequence[Mapping[str, float]]]]
    summary: Sequence[SummaryRow]
    figures: Sequence[Path]
    iterations: Sequence[Mapping[str, float]] = ()
    tables: Mapping[str, Grid] = field(default_factory=dict)


def export_run(
    run: RunExport, *, mode: WandbMode, project: str, entity: str, tags: Sequence[str], folder: Path
) -> Path | None:
    """Export to W&B; return the local folder of the W&B run under `folder`, or None where the mode is disabled.

    `online` that is not logged in or finds no server writes offline instead, with one warning that says how to sync.
    No other W&B run may be open in the process. Raises DataError for a row without `step`, ConfigError for a name that
    W&B refuses, ArtefactError when `folder` cannot be written.
    """
    if mode is WandbMode.disabled:
        return None
    check_steps(run)
    import wandb

    place = {"project": project, "entity": entity or None, "tags": list(tags), "dir": str(folder)}
    with readable_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            written = _send(run, place) if mode is WandbMode.online else None
            written = written or _write(run, "offline", place)
        except wandb.errors.UsageError as error:
            raise ConfigError(f"W&B refuses run {run.id!r}: {error}; see logger.project, entity and tags.") from error
        finally:
            wandb.teardown()  # waits for W&B's service: of a run just finished, it may still hold all in its buffer
        _remove_earlier(written, run.id)
    return written


def _remove_earlier(written: Path, run_id: str) -> None:
    """Removes what was written offline under this id before: `wandb sync` would send both, one on top of the other."""
    named = re.compile(rf"offline-run-\d+_\d+-{re.escape(run_id)}")
    for earlier in written.parent.iterdir():
        if named.fullmatch(earlier.name) and earlier != written:
            try:
                shutil.rmtree(earlier)
            except OSError as error:
                _log.warning("An earlier W&B run was not removed: %s. `wandb sync` would send it, too.", error)


def check_steps(run: RunExport) -> None:
    """Raises DataError for a metric row that has no place on its series' axis."""
    for prefix, rows in run.series:
        for number, row in enumerate(rows, start=1):
            if STEP not in row:
                raise DataError(f"row {number} of metric series {prefix!r} has no {STEP!r}; W&B cannot place it.")


def redact(config: Any) -> Any:
    """The configuration with every value replaced whose key names a secret: api_key, hfToken, password ...

    Keys are compared word by word, so `max_new_tokens` and `tokenizer` stay. What stands before the @ of a URL goes too.
    """
    if isinstance(config, Mapping):
        return {key: REDACTED if _is_secret(str(key)) else redact(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [redact(value) for value in config]
    return re.sub(r"(?<=://)[^/@\s]+@", f"{REDACTED}@", config) if isinstance(config, str) else config


def _is_secret(key: str) -> bool:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key)
    return not SECRETS.isdisjoint(re.split(r"[^a-z0-9]+", words.lower()))


def _send(run: RunExport, place: Mapping[str, Any]) -> Path | None:
    """The place of the run that W&B's server has; None, with a warning, where it has not got it."""
    import wandb

    try:
        return _write(run, "online", place)
    # A server that answers what W&B's client does not know breaks it in as many ways as the client has errors, private ones
    # and lost connections to its own service among them. What is wrong with the run itself is raised again offline.
    except Exception as error:
        with suppress(ConnectionError):  # its service is gone
            wandb.teardown()  # the failed start would otherwise keep the id in use
        reason = (str(error) or type(error).__name__).splitlines()[0]
        _log.warning(
            "W&B is not reachable (%s): the run was written offline to %s; `wandb login` and `wandb sync` send it.",
            reason,
            place["dir"],
        )
        return None


def _write(run: RunExport, mode: Literal["online", "offline"], place: Mapping[str, Any]) -> Path:
    session = _init(run, mode, place)  # no `with`: W&B would print a traceback of what ends it, Ctrl-C too
    try:
        _log_series(session, run.series)
        _log_iterations(session, run.iterations)
        _log_tables(session, run.tables)
        _log_summary(session, run.summary)
        _log_figures(session, run.figures)
    except BaseException:
        session.finish(exit_code=1)
        raise
    session.finish()
    return Path(session.dir).parent


def _init(run: RunExport, mode: Literal["online", "offline"], place: Mapping[str, Any]) -> Any:
    """Start a W&B run that records what it is given and nothing about machine, code, console or user."""
    import wandb

    settings = wandb.Settings(
        init_timeout=CONNECT_SECONDS,
        login_timeout=CONNECT_SECONDS,
        silent=True,
        host="",
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    return wandb.init(
        mode=mode,
        id=run.id,
        name=run.name,
        group=run.group,
        job_type=run.job_type,
        config=redact(run.config),
        settings=settings,
        **place,
    )


def _log_series(session: Any, series: Sequence[tuple[str, Sequence[Mapping[str, float]]]]) -> None:
    """Every metric is tied to its series' own step by name: a glob would also catch a series below its prefix."""
    for prefix, rows in series:
        axis = f"{prefix}/{STEP}"
        session.define_metric(axis, hidden=True)
        for name in dict.fromkeys(name for row in rows for name in row if name != STEP):
            session.define_metric(f"{prefix}/{name}", step_metric=axis)
        for row in rows:
            session.log({f"{prefix}/{name}": value for name, value in row.items()})


def _log_iterations(session: Any, rows: Sequence[Mapping[str, float]]) -> None:
    """Rows against the iteration, and not against W&B's own step."""
    if rows:
        session.define_metric(ITERATION, hidden=True)
    for name in dict.fromkeys(name for row in rows for name in row if name != ITERATION):
        session.define_metric(name, step_metric=ITERATION)
    for row in rows:
        session.log(dict(row))


def _log_tables(session: Any, tables: Mapping[str, Grid]) -> None:
    import wandb

    for name, grid in tables.items():
        if grid.rows:
            columns, rows = list(grid.columns), [list(row) for row in grid.rows]
            session.log({name: wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})


def _log_summary(session: Any, rows: Sequence[SummaryRow]) -> None:
    """The rows as a table, and each accuracy as a number that W&B can compare between runs."""
    import wandb

    if not rows:
        return
    columns = list(SummaryRow.__struct_fields__)
    session.log({"summary": wandb.Table(columns=columns, data=[list(msgspec.structs.astuple(row)) for row in rows])})
    for row in rows:
        session.summary[f"accuracy/{row.data}/{row.split}/{row.arm}/{row.iteration}"] = row.accuracy


def _log_figures(session: Any, figures: Sequence[Path]) -> None:
    import wandb

    if figures:
        session.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
