"""A store that another version wrote: read, told of, and never used."""

import json
from pathlib import Path

import pytest

from configurations import configure
from medcritical.pipeline.plan import make_plan
from medcritical.pipeline.run import run
from medcritical.store import ArtefactRef, Store
from medcritical.store.artefact import SCHEMA


@pytest.mark.parametrize(("schema", "version"), [(SCHEMA - 1, "an older"), (SCHEMA + 1, "a newer")])
def test_artefacts_of_another_version_are_told_of_and_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schema: int, version: str
) -> None:
    """A manifest of another schema, without an environment."""
    config = configure("plan=true", f"paths.store={tmp_path}", f"paths.outputs={tmp_path}/outputs", "arm=[]")
    ref = make_plan(config, {}).calls[0].ref
    other = ArtefactRef(stage=ref.stage, key="0" * 64)
    folder = Store(tmp_path).folder(other)
    folder.mkdir(parents=True)
    manifest = {
        "schema": schema, "ref": {"stage": other.stage, "key": other.key}, "version": 2, "config": {}, "inputs": {}, "files": {},
        "facts": {}, "costs": {"seconds": 3.0}, "created": "2026-11-26T10:00:00+00:00", "medcritical": "0.0.9",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    run(config)
    told = capsys.readouterr()
    assert told.err == (
        f"{tmp_path} holds 1 artefacts of {version} version of medcritical, which are not used: what is needed is made anew, "
        "and `medcritical store prune` removes those that no run folder names.\n"
    )
    assert "0 done" in told.out
    assert Store(tmp_path).manifest(other).environment is None
