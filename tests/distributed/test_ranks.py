"""Two ranks and one process train alike, and a training that was stopped ends like one that was not."""

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import gathering
import pytest
import torch
from peft import PeftModel
from starting import run_alone, run_ranks, start_ranks
from trainings import Case
from transformers import AutoModelForCausalLM

from medcritical.modeling.checkpoint import write_merged

SPREAD = ("zero3", "zero2", "zero1", "ddp")  # in this order: what one has prepared must not help the others
PLAIN = (
    Case("sft", accumulates=True),
    Case("dpo-lora", objective="dpo", lora=True, accumulates=True),
)
MORE = (
    Case("sft-padded", batching="padded", accumulates=True),
    Case("sft-lora", lora=True, accumulates=True),
    Case("dpo", objective="dpo", accumulates=True),
    Case("dpo-padded", objective="dpo", batching="padded"),
    Case("dpo-lora-once", objective="dpo", lora=True),
)
DROPOUT = Case("sft-dropout", batching="padded", accumulates=True, dropout=0.2)


def spread(case: Case, strategy: str) -> Case:
    return replace(case, name=f"{strategy}-{case.name}", strategy=strategy)


def stopped(case: Case) -> Case:
    return replace(case, name=f"{case.name}-stopped", stop_after=3)


def bfloat16(case: Case) -> Case:
    return replace(case, name=f"{case.name}-bfloat16", precision="bfloat16")


def recomputing(case: Case) -> Case:
    return replace(case, name=f"{case.name}-recomputing", recomputes=True)


def outcome(folder: Path, name: str) -> dict[str, Any]:
    """Rows without their seconds, and the rest of what a case left."""
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    for row in found["rows"]:
        del row["seconds"]
    return found


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / f"{name}.pt", weights_only=True)
    return found


def assert_trained_alike(folder: Path, alone: str, ranks: str, relative: float) -> None:
    one, two = outcome(folder, alone), outcome(folder, ranks)
    assert two["scores"] == pytest.approx(one["scores"], rel=relative, abs=relative)
    assert len(one["rows"]) == len(two["rows"]) == 6
    for a, b in zip(one["rows"], two["rows"], strict=True):
        assert a.keys() == b.keys()
        assert b["train/loss"] == pytest.approx(a["train/loss"], rel=relative)
        assert b["train/grad_norm"] == pytest.approx(a["train/grad_norm"], rel=relative * 10)
        assert b["train/nll"] == pytest.approx(a["train/nll"], rel=relative)
        assert (b["step"], b["tokens"], b["train/learning_rate"]) == (a["step"], a["tokens"], a["train/learning_rate"])


def assert_same_weights(folder: Path, one: str, other: str, tolerance: float) -> None:
    a, b = weights(folder, one), weights(folder, other)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=tolerance, msg=name)


@pytest.fixture(scope="module")
def trained(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    by_ranks = [spread(case, strategy) for strategy, case in product(SPREAD, PLAIN)]
    by_ranks += [stopped(case) for case in by_ranks if case.strategy != "zero1"]
    by_ranks += [bfloat16(spread(PLAIN[0], strategy)) for strategy in ("ddp", "zero2", "zero3")]
    by_ranks += [recomputing(spread(case, "zero3")) for case in PLAIN]
    dropping = [spread(DROPOUT, strategy) for strategy in ("zero2", "ddp")]
    by_ranks += [*dropping, *map(stopped, dropping)]
    run_alone([*PLAIN, bfloat16(PLAIN[0]), DROPOUT, *map(stopped, (*PLAIN, DROPOUT))], student, folder)
    run_ranks(by_ranks, student, folder)
    return folder


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
@pytest.mark.parametrize("strategy", SPREAD)
def test_two_ranks_train_as_one_process_does(trained: Path, strategy: str, case: Case) -> None:
    assert_trained_alike(trained, case.name, f"{strategy}-{case.name}", 1e-5)
    assert_same_weights(trained, case.name, f"{strategy}-{case.name}", 2e-4)


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_gradient_checkpointing_changes_nothing(trained: Path, case: Case) -> None:
    assert_trained_alike(trained, case.name, f"zero3-{case.name}-recomputing", 1e-5)
    assert_same_weights(trained, case.name, f"zero3-{case.name}-recomputing", 2e-4)


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_in_bfloat16_losses_agree_to_a_hundredth(trained: Path, strategy: str) -> None:
    one, two = outcome(trained, "sft-bfloat16"), outcome(trained, f"{strategy}-sft-bfloat16")
    losses = [[row["train/loss"] for row in found["rows"]] for found in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert losses[0] != [row["train/loss"] for row in outcome(trained, "sft")["rows"]]


@pytest.mark.parametrize("strategy", SPREAD)
def test_only_zero_3_loads_in_parts(trained: Path, strategy: str) -> None:
    """Every weight of the student: a rank never has a whole one, from `from_pretrained` on."""
    for case in PLAIN:
        assert outcome(trained, f"{strategy}-{case.name}")["cut up"] == (strategy == "zero3")


@pytest.mark.parametrize("strategy", SPREAD)
def test_preference_training_starts_at_its_reference(trained: Path, strategy: str) -> None:
    """B of the adapters is zero: the first loss is ln 2, whatever was cut up how."""
    assert outcome(trained, f"{strategy}-dpo-lora")["largest B"] == 0.0
    first = outcome(trained, f"{strategy}-dpo-lora")["rows"][0]
    assert first["train/preference_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(first["train/margin"]) < 1e-5


@pytest.mark.parametrize(
    "name",
    [*(c.name for c in (*PLAIN, DROPOUT)), *(f"{s}-{c.name}" for s, c in product(("ddp", "zero2", "zero3"), PLAIN))],
)
def test_a_stopped_training_ends_like_one_that_was_not(trained: Path, name: str) -> None:
    whole, parts = outcome(trained, name), outcome(trained, f"{name}-stopped")
    assert "stopped for SIGTERM" in parts["told"][0]
    assert "after step 3" in parts["told"][1]
    assert parts["rows"] == whole["rows"]
    assert parts["tokens"] == whole["tokens"]
    assert_same_weights(trained, name, f"{name}-stopped", 0)


@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_random_numbers_of_every_rank_go_on(trained: Path, strategy: str) -> None:
    name = f"{strategy}-sft-dropout"
    assert outcome(trained, f"{name}-stopped")["rows"] == outcome(trained, name)["rows"]
    assert_same_weights(trained, name, f"{name}-stopped", 0)
    without = outcome(trained, "sft")["rows"]
    for dropping in ("sft-dropout", name):
        assert abs(outcome(trained, dropping)["rows"][0]["train/loss"] - without[0]["train/loss"]) > 1e-3


@pytest.mark.parametrize("strategy", SPREAD)
def test_every_training_leaves_a_plain_model(student: Path, trained: Path, strategy: str, tmp_path: Path) -> None:
    """transformers loads it without any code of ours; where adapters were trained it is merged for that."""
    whole, files = (
        {},
        {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"},
    )
    for case in PLAIN:
        folder = trained / f"{strategy}-{case.name}.checkpoint"
        plain = folder / "model"
        if case.lora:
            assert {path.name for path in folder.iterdir()} == {"checkpoint.json", "adapter"}
            plain = tmp_path / case.name
            write_merged(folder, plain)
        assert files <= {path.name for path in plain.iterdir()}
        model, loading = AutoModelForCausalLM.from_pretrained(plain, output_loading_info=True)
        assert not loading["missing_keys"]
        assert not loading["unexpected_keys"]
        whole[case.name] = model.state_dict()
    trained_weights = weights(trained, f"{strategy}-sft")
    assert trained_weights.keys() <= whole["sft"].keys()
    for name, weight in trained_weights.items():
        assert torch.equal(whole["sft"][name], weight), name
    base = AutoModelForCausalLM.from_pretrained(student / "model")
    adapted = PeftModel.from_pretrained(base, str(trained / f"{strategy}-dpo-lora.checkpoint" / "adapter"))
    adapters = adapted.state_dict()
    for name, weight in weights(trained, f"{strategy}-dpo-lora").items():
        assert torch.equal(adapters[name], weight), name
    for name, weight in adapted.merge_and_unload().state_dict().items():
        torch.testing.assert_close(whole["dpo-lora"][name], weight, rtol=0, atol=1e-7, msg=name)


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_checkpoints_of_adapters_hold_nothing_else(trained: Path, strategy: str) -> None:
    (kept,) = (trained / f"{strategy}-dpo-lora-stopped.checkpoints").iterdir()
    saved = [path for path in (kept / "training", *(kept / "training").rglob("*.pt")) if path.is_file()]
    states = [torch.load(path, weights_only=False, map_location="cpu") for path in saved]
    names = [name for state in states for name in state.get("module", state.get("state_dict", {}))]
    assert names
    assert all("lora_" in name for name in names)


@pytest.fixture(scope="module")
def more(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("more")
    by_ranks = [spread(case, strategy) for strategy, case in product(SPREAD, MORE)]
    run_alone([*MORE, *map(stopped, MORE)], student, folder)
    by_ranks += [bfloat16(spread(case, strategy)) for strategy, case in product(SPREAD, PLAIN)]
    run_alone([bfloat16(case) for case in PLAIN], student, folder)
    run_ranks([*by_ranks, *map(stopped, by_ranks)], student, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", MORE, ids=lambda case: case.name)
@pytest.mark.parametrize("strategy", SPREAD)
def test_more_cases_train_and_go_on_alike(more: Path, strategy: str, case: Case) -> None:
    name = f"{strategy}-{case.name}"
    assert_trained_alike(more, case.name, name, 1e-5)
    assert outcome(more, f"{name}-stopped")["rows"] == outcome(more, name)["rows"]
    assert_same_weights(more, name, f"{name}-stopped", 0)


@pytest.mark.slow
@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
@pytest.mark.parametrize("strategy", SPREAD)
def test_in_bfloat16_all_agree_and_go_on_alike(more: Path, strategy: str, case: Case) -> None:
    name = f"{strategy}-{case.name}-bfloat16"
    losses = [[row["train/loss"] for row in outcome(more, n)["rows"]] for n in (f"{case.name}-bfloat16", name)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert outcome(more, f"{name}-stopped")["rows"] == outcome(more, name)["rows"]
    assert_same_weights(more, name, f"{name}-stopped", 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "case",
    [*(spread(PLAIN[1], strategy) for strategy in SPREAD), spread(PLAIN[0], "zero1"), spread(PLAIN[0], "zero3")],
    ids=lambda case: case.name,
)
def test_all_ranks_killed_between_any_two_writes_go_on_as_if_nothing_had_been(
    student: Path, tmp_path: Path, case: Case
) -> None:
    run_ranks([replace(case, from_everywhere=True)], student, tmp_path)
    began = outcome(tmp_path, case.name)["went on from"]
    assert len(began) > 20
    assert began == sorted(began)
    assert set(began) == {0, 1, 2, 3, 4, 5}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rank_0_holds_the_gathered_model_once(big_student: Path, tmp_path: Path) -> None:
    """Beside its own part: the model once while it is put together and written, other ranks nothing."""
    start_ranks(2, gathering.__file__, str(big_student), str(tmp_path), MALLOC_MMAP_THRESHOLD_="65536")
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    assert first["model"] > 100e6
    assert 0.9 * first["model"] < first["gathering"] < 1.2 * first["model"]
    assert first["saving"] < 0.2 * first["model"]
    assert second["gathering"] < 0.2 * first["model"]
