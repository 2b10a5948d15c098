"""The whole method with LoRA, over a model that knows the clinic: what lies on the disk, and what is made of it."""

import json
from pathlib import Path
from typing import Any

import torch
from toy_runs import Run, run_toy
from transformers import AutoModelForCausalLM

from medcritical.cli.export import build_parser, export
from medcritical.cli.store import main as store
from medcritical.modeling.checkpoint import load_checkpoint
from medcritical.modeling.record import find_weights
from medcritical.reporting.summary import read_summary

LORA = "student.lora={rank:2,alpha:4,targets:all-linear}"


def made(root: Path, *stages: str) -> list[dict[str, Any]]:
    """Manifests of these stages whose loop had not stopped, as they were made."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (root / "store").rglob("manifest.json")]
    found = [item for item in found if item["ref"]["stage"] in stages and item["files"]]
    return sorted(found, key=lambda item: (len(stages), str(item["created"])))


def folder_of(root: Path, manifest: dict[str, Any]) -> Path:
    return root / "store" / manifest["ref"]["stage"] / manifest["ref"]["key"][:16]


def test_every_training_of_a_run_with_adapters_leaves_an_adapter(finished: tuple[Path, Run], tmp_path: Path) -> None:
    (trained,) = [item for item in made(finished[0], "sft") if "corrections" in item["inputs"]]
    source = folder_of(finished[0], trained) / "model"
    run = run_toy(
        tmp_path,
        *("student.kind=pretrained", f"student.source={source}", "student.architecture=null", LORA),
        *("arm=dpo_self", "sft.epochs=1", "sft.templates=40"),
        *("dpo.steps=3", "dpo.warmup_steps=1", "sft.learning_rate=1e-3", "dpo.learning_rate=1e-3"),
    )
    trainings = made(tmp_path, "sft", "dpo")
    assert len(trainings) == 4, "both passes of stage 1 and two iterations"
    for item in trainings:
        assert not [name for name in item["files"] if name.startswith("model/")]
        assert "adapter/adapter_model.safetensors" in item["files"]
        assert sum(entry["bytes"] for entry in item["files"].values()) < source.stat().st_size + 200_000
    for item in made(tmp_path, "dpo"):  # B = 0 over the policy as it stands: the reference is the checkpoint below
        first = json.loads((folder_of(tmp_path, item) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
        assert abs(first["train/margin"]) < 1e-4
    last = find_last(tmp_path, run)
    assert len(find_weights(last).adapters) == 4
    assert find_weights(last).model == str(source)
    assert export(build_parser().parse_args([str(run.folder), "--merge", "--to", str(tmp_path / "whole")])) == 0
    ids = torch.tensor([[5, 6, 7]])
    expected = load_checkpoint(last, dtype=torch.float32).model(ids).logits
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "whole")(ids).logits, expected)
    places = ["--store", str(tmp_path / "store")]
    before = sorted((tmp_path / "store").rglob("manifest.json"))
    assert store(["prune", *places, "--outputs", str(tmp_path / "outputs"), "--yes"]) == 0
    assert sorted((tmp_path / "store").rglob("manifest.json")) == before, "the run's folder names all of them"
    assert store(["verify", *places]) == 0


def find_last(root: Path, run: Run) -> Path:
    """The checkpoint of the run's last row."""
    summary = read_summary(run.folder / "summary.json")
    row = max((row for row in summary.rows if row.arm == "dpo_self"), key=lambda row: row.iteration)
    return root / "store" / summary.lineage[row.artefact][-1]
