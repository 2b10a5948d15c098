"""One run: fingerprint, plan, execute what is missing, gather the results in the run's own folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from medcritical.config.choices import ClusterKind, WandbMode
from medcritical.config.load import to_identity, to_plain
from medcritical.config.schema import Config
from medcritical.pipeline.estimate import describe_experiment, describe_losses, describe_plan
from medcritical.pipeline.execute import Executor, LocalExecutor
from medcritical.pipeline.plan import Plan, make_plan
from medcritical.pipeline.sources import fingerprint_sources
from medcritical.pipeline.watch import Watcher
from medcritical.store import Store
from medcritical.store.artefact import MANIFEST
from medcritical.store.hashing import hash_json
from medcritical.store.jsonl import read_json, readable_write_errors, write_json

SUMMARY = "summary.json"
REPORT = "report.json"  # the same in the store, where it is no run of its own


def run(config: Config) -> Path | None:
    """Bring every artefact of the configuration into being; the path of summary.json (None for `plan: true`)."""
    store = Store(Path(config.paths.store).expanduser().resolve())
    plan = make_plan(config, fingerprint_sources(config, store.root))
    missing = [call for call in plan.calls if not store.is_complete(call.ref)]
    if config.plan:
        print("\n".join(text for text in (describe_experiment(config), describe_losses(plan)) if text))
        print(describe_plan(plan, {call.ref.key for call in missing}))
        return None
    folder = run_folder(config)
    for place in (store.root, folder):  # both, before a finished run's files are touched
        with readable_write_errors(place):
            place.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", to_plain(config))
    if missing:
        num_done = len(plan.calls) - len(missing)
        print(
            f"{len(plan.calls)} stages, {num_done} of them done before; log: {folder / 'worker.log'}", file=sys.stderr
        )
        _executor(config, store, folder).execute(missing, Watcher(plan.calls, num_done))
    else:
        print(f"nothing to do: all {len(plan.calls)} stages are done.", file=sys.stderr)
    summary = _gather(plan, store, folder)
    if config.logger.wandb is not WandbMode.disabled:
        from medcritical.pipeline.tracking import export_to_wandb  # W&B takes a second to import

        export_to_wandb(config, plan, store, summary)
    return summary


def run_folder(config: Config) -> Path:
    """The run's folder: `<outputs>/<name>-<hash of the configuration>`, the same for the same configuration."""
    plain = to_identity(config)
    for machine_side in ("paths", "plan", "cluster", "strategy", "logger", "trainer"):
        del plain[machine_side]
    plain["precision"] = config.trainer.precision.value
    return Path(config.paths.outputs).expanduser() / f"{config.name}-{hash_json(plain)[:8]}"


def _executor(config: Config, store: Store, folder: Path) -> Executor:
    match config.cluster.kind:
        case ClusterKind.local:
            return LocalExecutor(store.root, folder, config.trainer, isolate=config.cluster.isolate)


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
