"""Whose results lie in a run's folder. The artefacts are made up: no stage is run."""

import json
import shutil
from pathlib import Path

import pytest
from toy_runs import FAILING

from configurations import configure
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.run import Run, execute_run, plan_run, prepare_run
from medcritical.pipeline.run_folder import PlannedRun, RunFolder, run_folders
from medcritical.pipeline.sweep_status import cell_state
from medcritical.store import Costs, Store, write_json

OLD, NEW = "{}\n", "{}\n{}\n"


def plan_over(root: Path, data: str) -> Run:
    """The run of one configuration while its data file has this content."""
    path = root / "questions.jsonl"
    path.write_text(data, encoding="utf-8")
    files = [f"data.files.test=[{path}]", f"teacher.files=[{path}]"]
    return plan_run(configure(*FAILING, *files, f"paths.outputs={root}/outputs", f"paths.store={root}/store"))


def make(store: Store, call: StageCall, told: str) -> None:
    """The artefact of a call, empty but for a report."""
    with store.build(call.ref) as folder:
        if call.ref.stage == "report":
            write_json(folder / "report.json", {"told": told})
            (folder / "table.md").write_text(told, encoding="utf-8")
        store.complete(call.ref, version=1, config=call.identity, inputs=call.inputs, facts={}, costs=Costs())


def run_stages(run: Run, told: str) -> None:
    """All up to the report is made, and nothing gathered yet: where a kill may come."""
    prepare_run(run, Pace(run.store))
    for call in run.missing():
        make(run.store, call, told)


def shown(run: Run) -> set[str]:
    """What the files in the run's folder tell."""
    folder = run.folder.path
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {summary["told"], (folder / "table.md").read_text(encoding="utf-8")}


@pytest.fixture
def old(tmp_path: Path) -> Run:
    """A finished run over the old data."""
    run = plan_over(tmp_path, OLD)
    run_stages(run, "old")
    assert not run.is_done
    execute_run(run)
    assert run.is_done
    assert shown(run) == {"old"}
    return run


def test_data_that_are_restored_do_not_get_the_results_of_what_they_were_in_between(old: Run, tmp_path: Path) -> None:
    new = plan_over(tmp_path, NEW)
    assert new.folder.path == old.folder.path
    run_stages(new, "new")
    execute_run(new)
    assert shown(new) == {"new"}
    restored = plan_over(tmp_path, OLD)
    assert restored.missing() == []
    prepare_run(restored, Pace(restored.store))
    assert not restored.is_done
    assert cell_state(restored.folder, restored.folder.planned()) == "waiting"
    assert restored.folder.is_outdated()
    execute_run(restored)
    assert not restored.folder.is_outdated()
    assert restored.is_done
    assert shown(restored) == {"old"}


def test_a_kill_before_the_results_are_gathered_leaves_older_ones_that_do_not_count(old: Run, tmp_path: Path) -> None:
    new = plan_over(tmp_path, NEW)
    run_stages(new, "new")
    assert not new.is_done


@pytest.mark.parametrize("killed_at", ["copyfile", "summary.json", "gathered.json"])
def test_a_kill_while_they_are_gathered_leaves_neither(
    old: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    copy, replace = shutil.copyfile, Path.replace

    def kill_after_copy(source: Path, target: Path) -> None:
        copy(source, target)
        raise KeyboardInterrupt

    def kill_before_replace(self: Path, target: Path) -> Path:
        if target.name == killed_at:
            raise KeyboardInterrupt
        return replace(self, target)

    new = plan_over(tmp_path, NEW)
    run_stages(new, "new")
    with monkeypatch.context() as patch:
        if killed_at == "copyfile":
            patch.setattr(shutil, "copyfile", kill_after_copy)
        else:
            patch.setattr(Path, "replace", kill_before_replace)
        with pytest.raises(KeyboardInterrupt):
            execute_run(new)
    assert not new.is_done
    assert not old.is_done, "its files are overwritten in part"
    execute_run(new)
    assert new.is_done
    assert shown(new) == {"new"}


@pytest.mark.parametrize("record", [None, b"", b"{"])
def test_a_folder_that_does_not_say_whose_results_it_has_gets_them_again(old: Run, record: bytes | None) -> None:
    path = old.folder.path / "gathered.json"
    path.unlink() if record is None else path.write_bytes(record)
    assert not old.is_done
    execute_run(old)
    assert old.is_done
    (old.folder.path / "summary.json").unlink()
    assert not old.is_done


def test_runs_whose_name_begins_as_that_of_a_machines_folder_are_found(tmp_path: Path) -> None:
    runs = ["machine-01234567", "machine-1-89abcdef", "machine-x-89abcdef", "toy-89abcdef"]
    for name in runs:
        for machine in (0, 1, 12):
            RunFolder(tmp_path / name, machine).plan(PlannedRun(swept=[], store="", calls=[]))
    assert [folder.name for folder in run_folders(tmp_path)] == runs
