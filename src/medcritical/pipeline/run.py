"""One run: fingerprint, plan, execute what is missing, gather the results in the run's own folder."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcritical.config.choices import ClusterKind, WandbMode
from medcritical.config.cluster import stated_arithmetic
from medcritical.config.load import to_identity, to_plain
from medcritical.config.schema import Config, LoggerConfig
from medcritical.errors import ArtefactError, MedCriticalError
from medcritical.evaluation.explanations import require_packages
from medcritical.pipeline.estimate import describe_experiment, describe_losses, describe_plan
from medcritical.pipeline.execute import Executor, LocalExecutor, StageFailed
from medcritical.pipeline.monitor import watched_machine
from medcritical.pipeline.named import note_run
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.plan import Plan, StageCall, make_plan
from medcritical.pipeline.ranked import RankExecutor, check_programs
from medcritical.pipeline.revisions import HubModel, require_commits, resolve_revisions
from medcritical.pipeline.run_folder import CONFIG, LOG, Failure, PlannedCall, PlannedRun, RunFolder
from medcritical.pipeline.schedule import ParallelExecutor, num_workers
from medcritical.pipeline.sources import fingerprint_sources
from medcritical.pipeline.watch import Watcher
from medcritical.reporting.summary import SUMMARY
from medcritical.stages.results import REPORT
from medcritical.store import Store
from medcritical.store.artefact import MANIFEST
from medcritical.store.hashing import hash_json
from medcritical.store.in_use import in_use
from medcritical.store.jsonl import read_json, readable_write_errors, write_json


@dataclass(frozen=True)
class Run:
    """A checked configuration with its plan and places."""

    config: Config
    plan: Plan
    store: Store
    folder: RunFolder
    hub_models: list[HubModel] = field(default_factory=list)

    def missing(self) -> list[StageCall]:
        """The calls whose artefacts are not there yet."""
        return [call for call in self.plan.calls if not self.store.is_complete(call.ref)]

    @property
    def is_done(self) -> bool:
        """True when nothing is left to do."""
        return self.folder.is_done(self.store, self.plan.report.ref)


def plan_run(config: Config) -> Run:
    """The run of a configuration, hub models by their commit; nothing is written but hashes of data files."""
    store = Store(Path(config.paths.store).expanduser().resolve())
    sources = fingerprint_sources(config, store.root)
    config, hub_models = resolve_revisions(config)
    plan = make_plan(config, sources)
    return Run(config, plan, store, RunFolder(run_folder(config), config.cluster.node_rank), hub_models)


def run(config: Config) -> Path | None:
    """Bring every artefact of the configuration into being; the path of summary.json.

    None for `plan: true`, and on all machines but the first, which has the results.
    """
    planned = plan_run(config)
    pace = read_pace(planned.store)
    if config.plan:
        missing = {call.ref.key for call in planned.missing()}
        print("\n".join(text for text in (describe_experiment(config), describe_losses(planned.plan)) if text))
        for model in planned.hub_models:
            print(model)
        print(describe_plan(planned.plan, missing, pace))
        return None
    prepare_run(planned, pace)
    try:
        return execute_run(planned)
    except MedCriticalError as error:
        with suppress(ArtefactError):  # a full disk is what is told of, not that this cannot be noted either
            planned.folder.fail(failure_of(error, planned))
        raise


def read_pace(store: Store) -> Pace:
    """What stages took so far in the store. Says on stderr when it holds artefacts of another version."""
    pace = Pace(store)
    for number, which in ((pace.num_older, "an older"), (pace.num_newer, "a newer")):
        if number:
            print(
                f"{store.root} holds {number} artefacts of {which} version of medcritical, which are not used: what is needed is "
                "made anew, and `medcritical store prune` removes those that no run folder names.",
                file=sys.stderr,
            )
    return pace


def failure_of(error: Exception, run: Run) -> Failure:
    """How a run ended, for its folder; the traceback of what is no error of a user goes into the run's log."""
    log = run.folder.path / LOG
    is_readable = isinstance(error, MedCriticalError)
    if not is_readable:
        with log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
    return Failure(
        stage=error.stage if isinstance(error, StageFailed) else "",
        message=str(error) if is_readable else "".join(traceback.format_exception_only(error)).strip(),
        log=str(log),
        exit_code=error.exit_code if isinstance(error, MedCriticalError) else 1,
    )


def prepare_run(run: Run, pace: Pace, swept: Sequence[str] = ()) -> None:
    """Make the store and the run's folder and write there what is planned.

    Raises ConfigError where a package, or the commit of a hub model, is missing that a stage would need, before the first
    one starts.
    """
    if run.missing():
        require_commits(run.hub_models)
        check_programs(run.config.strategy.kind)
        if run.config.evaluation.explanation:
            require_packages()
    for place in (run.store.root, run.folder.path):  # both, before a finished run's files are touched
        with readable_write_errors(place):
            place.mkdir(parents=True, exist_ok=True)
    note_run(run.folder.path, run.store.root)
    calls = [
        PlannedCall(ref=call.ref, label=call.label, inputs=call.inputs, seconds=pace.seconds(call, run.plan))
        for call in run.plan.calls
    ]
    run.folder.plan(PlannedRun(swept=list(swept), store=str(run.store.root), calls=calls))
    write_json(run.folder.path / CONFIG, to_plain(run.config))


def execute_run(run: Run) -> Path | None:
    """Have all that is missing made and gather the results; the path of summary.json, None where machine 0 gathers them.

    Two processes that want one run do it one after the other, so that the second finds it done.
    """
    if run.folder.is_held():
        print(f"{run.folder.path} is being worked on by another process; waiting for it.", file=sys.stderr)
    with run.folder.hold(), needed_by([run]):
        run.folder.forgive()
        folder = run.folder.path
        if run.missing():
            _make_missing(run)
        else:
            print(f"nothing to do: all {len(run.plan.calls)} stages are done.", file=sys.stderr)
        if not run.folder.gathers:
            print(f"all stages are done; {run.folder.name} on machine 0 has the results.", file=sys.stderr)
            return None
        with run.folder.gathering(run.plan.report.ref):
            summary = _gather(run.plan, run.store, folder)
    _export(run.config.logger, folder)
    return summary


@contextmanager
def needed_by(runs: Sequence[Run]) -> Iterator[None]:
    """While the block lasts, upkeep removes nothing that these runs need.

    A store that may not be written to, and need not be, is left as it is: nobody removes anything there either.
    """
    with ExitStack() as stack:
        for root in {run.store.root for run in runs}:
            here = [run for run in runs if run.store.root == root]
            if os.access(root, os.W_OK) or any(run.missing() for run in here):
                stack.enter_context(in_use(root, {str(call.ref) for run in here for call in run.plan.calls}))
        yield


def _make_missing(run: Run) -> None:
    """Have the artefacts made that are not there."""
    missing, folder = run.missing(), run.folder.path
    num_done = len(run.plan.calls) - len(missing)
    print(f"{len(run.plan.calls)} stages, {num_done} of them done before; log: {folder / LOG}", file=sys.stderr)
    with watched_machine(folder, run.config.logger.system_seconds):
        _executor(run.config, run.store, folder).execute(missing, Watcher(run.plan.calls, num_done))


def _export(logger: LoggerConfig, folder: Path) -> None:
    """Make a W&B run of the results, where that is asked for."""
    if logger.wandb is not WandbMode.disabled:
        from medcritical.pipeline.tracking import export_folder  # W&B takes a second to import

        export_folder(
            folder,
            mode=logger.wandb,
            project=logger.project,
            entity=logger.entity,
            tags=logger.tags,
            samples=logger.samples,
        )


def run_folder(config: Config) -> Path:
    """The run's folder: `<outputs>/<name>-<hash of the configuration>`, the same for the same configuration."""
    return Path(config.paths.outputs).expanduser() / f"{config.name}-{hash_json(run_identity(config))[:8]}"


def run_identity(config: Config) -> dict[str, Any]:
    """All of a configuration that can change a result, as plain JSON values: what runs are told apart by."""
    arithmetic = stated_arithmetic(config.trainer.precision, config.strategy.kind)
    return {**to_identity(config), "arithmetic": arithmetic and arithmetic.value}


def _executor(config: Config, store: Store, folder: Path) -> Executor:
    match config.cluster.kind:
        case ClusterKind.local:
            workers = num_workers(config.cluster, config.trainer)
            if workers > 1:
                return ParallelExecutor(store.root, folder, config, workers=workers)
            return LocalExecutor(store.root, folder, config)
        case ClusterKind.torchrun | ClusterKind.slurm:
            return RankExecutor(store, folder, config)


def _gather(plan: Plan, store: Store, folder: Path) -> Path:
    """Copy the report beside the run's configuration, so that a run folder can be read by itself."""
    source = store.folder(plan.report.ref)
    with readable_write_errors(folder):
        for path in source.iterdir():
            if path.is_file() and path.name not in (MANIFEST, REPORT):
                shutil.copyfile(path, folder / path.name)
    summary = read_json(source / REPORT, dict[str, Any])
    summary["store"] = os.path.relpath(store.root, folder.resolve())
    write_json(folder / SUMMARY, summary)
    return folder / SUMMARY
