"""`medcritical store`: what it counts, what it finds wrong, and what it never removes."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medcritical.cli.store import main, readable
from medcritical.pipeline.named import note_run
from medcritical.pipeline.run_folder import PlannedCall, PlannedRun, RunFolder
from medcritical.store import ArtefactRef, Costs, Store
from medcritical.store.artefact import SCHEMA
from medcritical.store.in_use import in_use
from medcritical.store.locks import hold

CHAIN = ("prepare", "sft", "play", "dpo")
"""Each is made from the one before it."""


def make(store: Store, ref: ArtefactRef, inputs: dict[str, ArtefactRef], size: int) -> None:
    with store.lock(ref), store.build(ref) as folder:
        (folder / "records.jsonl").write_bytes(b"x" * size)
        store.complete(ref, version=1, config={}, inputs=inputs, facts={}, costs=Costs())


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    """Two chains in a store, "a" and "b"; a run folder names the last two of "a", and nobody names "b"."""
    store, refs = Store(tmp_path / "store"), {}
    for letter in "ab":
        inputs: dict[str, ArtefactRef] = {}
        for number, stage in enumerate(CHAIN):
            refs[stage, letter] = ref = ArtefactRef(stage=stage, key=letter * 64)
            make(store, ref, inputs, size=1000 * (number + 1))
            inputs = {"input": ref}
    calls = [
        PlannedCall(ref=refs[stage, "a"], label=stage, inputs={}, seconds=None) for stage in ("play", "dpo")
    ]  # an older plan may name less than all that it needs
    RunFolder(tmp_path / "runs" / "toy-1").plan(PlannedRun(swept=[], store=str(tmp_path / "store"), calls=calls))
    return SimpleNamespace(store=store, refs=refs, runs=tmp_path / "runs", root=tmp_path / "store")


def call(place: SimpleNamespace, command: str, *arguments: str) -> int:
    outputs = () if command == "verify" else ("--outputs", str(place.runs))
    return main([command, "--store", str(place.root), *outputs, *arguments])


def names(place: SimpleNamespace) -> set[str]:
    return {f"{path.parent.name}/{path.name[0]}" for path in place.root.glob("[!.]*/[!.]*")}


ALL_OF_A = {f"{stage}/a" for stage in CHAIN}
ALL_OF_B = {f"{stage}/b" for stage in CHAIN}


def test_status_counts_by_stage_and_run(place: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    (place.root / "engines").mkdir()
    (place.root / "engines" / "log").write_bytes(b"1234567")
    assert call(place, "status", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    manifests = {
        (stage, letter): (place.store.folder(ref) / "manifest.json").stat().st_size
        for (stage, letter), ref in place.refs.items()
    }
    assert told["artefacts"] == 8
    assert told["bytes"] == 2 * (1000 + 2000 + 3000 + 4000) + sum(manifests.values())
    assert told["stages"]["sft"] == {"artefacts": 2, "bytes": 4000 + manifests["sft", "a"] + manifests["sft", "b"]}
    of_run = 3000 + 4000 + manifests["play", "a"] + manifests["dpo", "a"]
    assert told["runs"] == {str(place.runs / "toy-1"): {"artefacts": 2, "bytes": of_run, "bytes_alone": of_run}}
    assert told["engines_bytes"] == 7
    assert call(place, "status") == 0
    shown = capsys.readouterr().out
    assert "| dpo " in shown
    assert "7 B of servers' answers" in shown


def test_links_of_a_gate_count_once(place: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    gate = place.root / "gate" / ("a" * 16)
    gate.mkdir(parents=True)
    call(place, "status", "--json")
    before = json.loads(capsys.readouterr().out)["bytes"]
    os.link(place.store.folder(place.refs["dpo", "a"]) / "records.jsonl", gate / "records.jsonl")
    call(place, "status", "--json")
    assert json.loads(capsys.readouterr().out)["bytes"] == before


def test_verify_lists_every_difference(place: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(place, "verify") == 0
    assert "8 artefacts, 2" in capsys.readouterr().out
    folder = {stage: place.store.folder(place.refs[stage, "a"]) for stage in CHAIN}
    (folder["prepare"] / "records.jsonl").write_bytes(b"y" * 1000)
    (folder["sft"] / "records.jsonl").write_bytes(b"x")
    (folder["play"] / "records.jsonl").unlink()
    (folder["play"] / "more").touch()
    (folder["dpo"] / "manifest.json").write_text("{", encoding="utf-8")
    assert call(place, "verify", "--json") == 1
    found = {
        (one["artefact"][:-15], one["file"]): one["fault"] for one in json.loads(capsys.readouterr().out)["faults"]
    }
    assert found == {
        ("prepare/a", "records.jsonl"): "has another content (SHA-256)",
        ("sft/a", "records.jsonl"): "has 1 bytes, not 2000",
        ("play/a", "records.jsonl"): "is missing",
        ("play/a", "more"): "is not in the manifest",
        ("dpo/a", "manifest.json"): "cannot be read",
    }


def test_prune_shows_first_and_removes_what_no_run_needs(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = place.root / "dpo" / f".{'c' * 16}.unfinished"
    (unfinished / "checkpoints").mkdir(parents=True)
    assert call(place, "prune") == 0
    assert "5 artefacts, 1" in capsys.readouterr().out
    assert names(place) == ALL_OF_A | ALL_OF_B, "nothing is removed without --yes"
    assert call(place, "prune", "--yes") == 0
    assert "5 artefacts removed, 1" in capsys.readouterr().out
    assert names(place) == ALL_OF_A, "what the named ones were made from stays"
    assert not unfinished.exists()
    assert call(place, "verify") == 0


def test_what_a_running_command_needs_stays(place: SimpleNamespace) -> None:
    """Its plan may lie below another folder; one that was killed needs nothing."""
    with in_use(place.root, [str(place.refs["sft", "b"])]), place.store.lock(place.refs["dpo", "b"]):
        assert call(place, "prune", "--yes") == 0
        # dpo/b is being made: with it stays what it was made from
        assert names(place) == ALL_OF_A | ALL_OF_B
    with in_use(place.root, [str(place.refs["sft", "b"])]):
        assert call(place, "prune", "--yes") == 0
        assert names(place) == ALL_OF_A | {"prepare/b", "sft/b"}
    killed = (
        "import os, sys; from pathlib import Path; from medcritical.store.in_use import in_use\n"
        "with in_use(Path(sys.argv[1]), [sys.argv[2]]): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(place.root), str(place.refs["sft", "b"])], check=False)
    users = place.root / ".users"
    assert len(list(users.iterdir())) == 2, "a killed command leaves its list and its lock"
    with in_use(place.root, []):
        assert call(place, "prune", "--yes") == 0
        assert names(place) == ALL_OF_A
        assert len(list(users.iterdir())) == 2, "those of the running one"
    assert not list(users.iterdir())


def test_models_merged_for_a_server_that_was_killed_are_told_of_and_removed(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = place.root / "engines"
    for name in ("merged-1", "merged-2"):
        (engines / name).mkdir(parents=True)
        (engines / name / "model").write_bytes(b"x" * 1500)
        (engines / f".{name}.lock").touch()
    with hold(engines / ".merged-2.2.user"):
        assert call(place, "prune") == 0
        shown = capsys.readouterr().out
        assert "| engines/merged-1 " in shown
        assert "merged-2" not in shown
        assert "and 1.5 kB of models merged for servers, would be removed; add --yes" in shown
        assert (engines / "merged-1").is_dir()
        assert call(place, "prune", "--yes") == 0
        assert "and 1.5 kB of models merged for servers." in capsys.readouterr().out
        assert [path.name for path in engines.glob("merged-*")] == ["merged-2"]
    assert call(place, "prune", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["merged"], told["merged_bytes"]) == ({"engines/merged-2": 1500}, 1500)


def test_artefacts_of_another_user_are_left_and_told_of_at_the_end(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may remove all of them, so the refusal is made up."""
    theirs, unlink = place.store.folder(place.refs["play", "b"]), Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.parent == theirs:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert call(place, "prune", "--yes") == 2
    told = capsys.readouterr()
    assert "3 artefacts removed" in told.out
    assert told.err == (
        f"error: 1 artefacts belong to another user and were left (play/{'b' * 16} is the first): ask that user to give the "
        "same command.\n"
    )
    assert names(place) == ALL_OF_A | {"play/b"}


def test_older_than_counts_days_and_keeps_what_younger_ones_need(place: SimpleNamespace) -> None:
    ten_days_ago = time.time() - 10 * 86_400
    for stage in ("prepare", "sft", "dpo"):
        folder = place.store.folder(place.refs[stage, "b"])
        for path in (*folder.iterdir(), folder):
            os.utime(path, (ten_days_ago, ten_days_ago))
    assert call(place, "prune", "--yes", "--older-than", "11") == 0
    assert names(place) == ALL_OF_A | ALL_OF_B
    assert call(place, "prune", "--yes", "--older-than", "9") == 0
    assert names(place) == ALL_OF_A | {"prepare/b", "sft/b", "play/b"}, "play/b is young, and made from sft/b"


@pytest.mark.parametrize(("schema", "version"), [(0, "an older"), (SCHEMA + 1, "a newer")])
def test_a_store_of_another_version_is_read(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str], schema: int, version: str
) -> None:
    """A manifest without fields that this version has, and with one that it has not."""
    for letter in "ab":
        path = place.store.folder(place.refs["dpo", letter]) / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        other = {name: manifest[name] for name in ("ref", "inputs", "files")} | {"schema": schema, "unheard_of": 1}
        path.write_text(json.dumps(other), encoding="utf-8")
    assert call(place, "status") == 0
    assert f"2 of {version} version, never reused; prune removes those" in capsys.readouterr().out
    assert call(place, "verify") == 0
    assert call(place, "prune", "--yes") == 0
    assert names(place) == ALL_OF_A


def test_a_damaged_manifest_is_told_and_removed_when_nobody_needs_it(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.store.folder(place.refs["dpo", "b"]) / "manifest.json").write_bytes(b"\xff{")
    assert call(place, "status") == 0
    assert "1 with a manifest that cannot be read" in capsys.readouterr().out
    assert call(place, "prune", "--yes") == 0
    assert names(place) == ALL_OF_A


def one_sentence(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert all(part in told for part in parts), told


@pytest.mark.parametrize("command", ["status", "verify", "prune"])
def test_a_store_that_is_not_there(place: SimpleNamespace, capsys: pytest.CaptureFixture[str], command: str) -> None:
    place.root = place.root.with_name("nowhere")
    assert call(place, command) == 2
    one_sentence(capsys, "there is no store at", "--store")
    assert call(place, "prune", "--yes") == 2
    assert not place.root.exists()


def test_a_run_whose_plan_cannot_be_read_stops_everything(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.runs / "toy-1" / "plan.json").write_text("{", encoding="utf-8")
    assert call(place, "prune", "--yes") == 2
    one_sentence(capsys, "plan.json cannot be read", "nobody knows what its run needs")
    assert names(place) == ALL_OF_A | ALL_OF_B


def test_no_run_folder_removes_nothing(place: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(place.runs)
    assert call(place, "prune", "--yes") == 2
    one_sentence(capsys, "there is no folder", "--outputs")
    place.runs.mkdir()
    assert call(place, "prune", "--yes") == 2
    one_sentence(capsys, "no run of this store lies below", "would go")
    assert names(place) == ALL_OF_A | ALL_OF_B


def test_runs_of_another_store_are_no_reason_to_remove_all(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = place.runs / "toy-1" / "plan.json"
    plan.write_text(plan.read_text(encoding="utf-8").replace(str(place.root), "/elsewhere"), encoding="utf-8")
    (place.runs / "summary.json").write_text('{"of": "another program"}', encoding="utf-8")
    assert call(place, "prune", "--yes") == 2
    one_sentence(capsys, "no run of this store lies below", "after a move, give the command of one of them again")
    assert names(place) == ALL_OF_A | ALL_OF_B
    (plan.parent / "summary.json").write_text('{"store": "../../store"}', encoding="utf-8")
    assert call(place, "prune", "--yes") == 0, "the results say where their store lies, also after a move of both"
    assert names(place) == ALL_OF_A


def test_a_run_that_noted_its_folder_is_found_wherever_it_lies(place: SimpleNamespace, tmp_path: Path) -> None:
    far = RunFolder(tmp_path / "far" / "toy-2")
    needed = PlannedCall(ref=place.refs["sft", "b"], label="sft", inputs={}, seconds=None)
    far.plan(PlannedRun(swept=[], store=str(place.root), calls=[needed]))
    for folder in (far.path, place.runs / "toy-1"):
        note_run(folder, place.root)
    assert call(place, "prune", "--yes") == 0
    assert names(place) == ALL_OF_A | {"prepare/b", "sft/b"}
    shutil.rmtree(far.path)
    assert call(place, "prune", "--yes") == 0
    assert names(place) == ALL_OF_A


def test_runs_behind_links_count_and_circles_end(place: SimpleNamespace, tmp_path: Path) -> None:
    (place.runs / "toy-1").rename(tmp_path / "moved")
    (place.runs / "linked").symlink_to(tmp_path / "moved")
    (tmp_path / "moved" / "back").symlink_to(place.runs)
    assert call(place, "prune", "--yes") == 0
    assert names(place) == ALL_OF_A


def test_a_folder_that_cannot_be_entered_stops_prune(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runs may need what nobody else names. The superuser may enter all folders, so the refusal is made up."""
    locked, scandir = place.runs / "locked", os.scandir
    locked.mkdir()

    def refuse(path: str) -> Any:
        if Path(path) == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert call(place, "prune", "--yes") == 2
    one_sentence(capsys, f"{locked} cannot be read (Permission denied)", "make it readable")
    assert names(place) == ALL_OF_A | ALL_OF_B


@pytest.mark.parametrize("days", ["-1", "soon", "nan", "inf"])
def test_days_are_a_number(place: SimpleNamespace, capsys: pytest.CaptureFixture[str], days: str) -> None:
    with pytest.raises(SystemExit) as raised:
        call(place, "prune", f"--older-than={days}")
    assert raised.value.code == 2
    one_sentence(capsys, f"--older-than: '{days}' is no number of days: give 0 or more")


def test_a_read_only_disk_is_one_sentence(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", place.root, place.root], capture_output=True)
    if mounted.returncode != 0:

        def refuse(path: Path, **options: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system", str(path))

        monkeypatch.setattr(Path, "unlink", refuse)
    try:
        assert call(place, "prune") == 0, "showing needs no right to write"
        capsys.readouterr()
        assert call(place, "prune", "--yes") == 2
        one_sentence(capsys, "cannot write", "read-only")
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", place.root], check=True)
    assert names(place) == ALL_OF_A | ALL_OF_B


def test_it_never_loads_torch(place: SimpleNamespace) -> None:
    code = "import sys; from medcritical.cli.store import main; assert main(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    arguments = ["status", "--store", str(place.root), "--outputs", str(place.runs)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_960, "1.0 MB"), (28 * 10**9, "28.0 GB")]
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert readable(size) == shown
