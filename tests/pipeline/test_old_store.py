"""A store that an older version wrote: read, told of, and never used."""

import json
from pathlib import Path

import pytest

from configurations import configure
from medcritical.pipeline.plan import make_plan
from medcritical.pipeline.run import run
from medcritical.store import ArtefactRef, Store


def test_artefacts_of_an_older_version_are_told_of_and_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest of schema 1, without an environment, under the very key that the plan asks for."""
    config = configure("plan=true", f"paths.store={tmp_path}", f"paths.outputs={tmp_path}/outputs", "arm=[]")
    ref = make_plan(config, {}).calls[0].ref
    older = ArtefactRef(stage=ref.stage, key="0" * 64)
    folder = Store(tmp_path).folder(older)
    folder.mkdir(parents=True)
    manifest = {
        "schema": 1, "ref": {"stage": older.stage, "key": older.key}, "version": 2, "config": {}, "inputs": {}, "files": {},
        "facts": {}, "costs": {"seconds": 3.0}, "created": "2026-11-26T10:00:00+00:00", "medcritical": "0.0.9",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    run(config)
    told = capsys.readouterr()
    assert f"{tmp_path} holds 1 artefacts of an older version of medcritical, which are not used" in told.err
    assert "0 done" in told.out
    assert Store(tmp_path).manifest(older).environment is None
