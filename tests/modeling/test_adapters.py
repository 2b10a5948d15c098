"""A checkpoint of an adapter: what lies on the disk, and that it computes what a merged model on the disk computed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel, get_peft_model
from peft import LoraConfig as PeftLora
from safetensors.torch import load_file, save_file
from tiny_students import student_config
from transformers import AutoModelForCausalLM, PreTrainedModel

from medcritical.config.choices import StudentKind
from medcritical.config.schema import LoraConfig
from medcritical.errors import ModelError
from medcritical.modeling import adapters
from medcritical.modeling.adapter_files import stack_adapters, write_adapter
from medcritical.modeling.checkpoint import load_checkpoint, save_trained, write_merged
from medcritical.modeling.lora import add_lora
from medcritical.modeling.record import (
    Checkpoint,
    copy_record,
    find_weights,
    point_to_base,
    read_checkpoint,
    write_checkpoint,
)
from medcritical.modeling.student import create_student

IDS = torch.tensor([[1, 2, 3, 4]])
LORA = LoraConfig(2, 4, "all-linear")


def train(source: Path, folder: Path, seed: int) -> None:
    """A training over the checkpoint in `source`: adapters with numbers in A and B."""
    student = load_checkpoint(source, dtype=torch.float32)
    adapted = add_lora(student.model, LORA, seed)
    numbers = torch.Generator().manual_seed(seed)
    weights = {}
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if weight.requires_grad:
                weight.copy_(torch.randn(weight.shape, generator=numbers) * 0.2)
                weights[name] = weight
    save_trained(folder, source, adapted, student.tokenizer, weights)


@pytest.fixture
def store(scratch_folder: Path, tmp_path: Path) -> Path:
    """student/0 under sft/1 under dpo/2, as the store has them."""
    store = tmp_path / "store"
    shutil.copytree(scratch_folder, store / "student" / "0")
    train(store / "student" / "0", store / "sft" / "1", seed=1)
    train(store / "sft" / "1", store / "dpo" / "2", seed=2)
    return store


def merged_on_disk(store: Path, folder: Path) -> Path:
    """What versions before this one left on the disk: each training's float32 model, merged from the one before."""
    source = store / "student" / "0" / "model"
    for number, name in enumerate(("sft/1", "dpo/2")):
        base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        merged = PeftModel.from_pretrained(base, str(store / name / "adapter")).merge_and_unload()
        source = folder / str(number)
        merged.save_pretrained(source)
    return source


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loaded_model_is_bit_for_bit_the_one_that_was_written_merged(
    store: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    former = AutoModelForCausalLM.from_pretrained(merged_on_disk(store, tmp_path / "former"), dtype=dtype).eval()
    loaded = load_checkpoint(store / "dpo" / "2", dtype=dtype)
    assert type(loaded.model) is type(former)
    assert not loaded.model.training
    assert loaded.model.dtype == dtype
    state = former.state_dict()
    assert loaded.model.state_dict().keys() == state.keys()
    assert all(torch.equal(weight, state[name]) for name, weight in loaded.model.state_dict().items())
    buffers = dict(former.named_buffers())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in loaded.model.named_buffers())
    assert torch.equal(loaded.model(IDS).logits, former(IDS).logits)
    assert loaded.model.generation_config.eos_token_id == loaded.tokenizer.eos_token_id
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight


def test_a_training_writes_its_adapter_and_the_name_of_its_base(store: Path) -> None:
    """No whole weight: A is rank x in, B out x rank. The rest are three small files."""
    folder = store / "dpo" / "2"
    assert {path.name for path in folder.iterdir()} == {"checkpoint.json", "adapter"}
    assert json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))["base"] == "../../sft/1"
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert all(2 in weight.shape and "lora_" in name for name, weight in weights.items())
    assert sum(weight.numel() for weight in weights.values()) == 2 * 2 * (4 * 32 + 3 * 40)
    numbers = sum(weight.nbytes for weight in weights.values())
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < numbers + 20_000


def test_a_store_that_was_moved_is_still_whole(store: Path, tmp_path: Path) -> None:
    before = load_checkpoint(store / "dpo" / "2", dtype=torch.float32).model(IDS).logits
    moved = tmp_path / "elsewhere" / "deeper" / "store"
    moved.parent.mkdir(parents=True)
    store.rename(moved)
    assert torch.equal(load_checkpoint(moved / "dpo" / "2", dtype=torch.float32).model(IDS).logits, before)


def test_a_copied_record_names_the_same_base(store: Path) -> None:
    """As a gate links a checkpoint, also a level deeper."""
    for target in (store / "gate" / "3", store / "gate" / "3" / "best"):
        shutil.copytree(store / "dpo" / "2", target)
        copy_record(store / "dpo" / "2", target)
        assert find_weights(target).adapters[0] == store / "sft" / "1" / "adapter"
    assert read_checkpoint(store / "gate" / "3" / "best").base == "../../../sft/1"


def test_a_base_is_found_from_both_sides_of_a_link(tmp_path: Path) -> None:
    """A project's outputs on a scratch disk: ".." from there does not lead into the project."""
    outputs, base = tmp_path / "project" / "outputs", tmp_path / "project" / "student"
    (tmp_path / "scratch" / "deep" / "outputs").mkdir(parents=True)
    outputs.parent.mkdir()
    outputs.symlink_to(tmp_path / "scratch" / "deep" / "outputs")
    write_checkpoint(base, Checkpoint(model="owner/model"))
    write_checkpoint(outputs / "sft", Checkpoint(adapter="adapter", base=point_to_base(outputs / "sft", base)))
    copy_record(outputs / "sft", tmp_path / "copy")
    for folder in (outputs / "sft", outputs.resolve() / "sft", tmp_path / "copy"):
        weights = find_weights(folder)
        assert (weights.model, weights.adapters) == ("owner/model", (folder.resolve() / "adapter",))


@pytest.mark.parametrize("last", ["sft/1", "dpo/2"])  # one adapter, which is copied, and two, which are stacked
@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"half")])
def test_a_damaged_adapter_is_not_exported(store: Path, tmp_path: Path, last: str, damage) -> None:  # type: ignore[no-untyped-def]
    damage(store / "sft" / "1" / "adapter" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=rf"^{store}/sft/1/adapter cannot be read as an adapter: .+"):
        write_adapter(find_weights(store / last), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_adapters_of_embeddings_are_not_stacked() -> None:
    """There A is `[rank, tokens]` and B `[out, rank]` under other names, and other axes grow."""
    names = ("model.embed_tokens.lora_embedding_A", "model.embed_tokens.lora_embedding_B")
    adapter = {name: np.ones((2, 2), np.float32) for name in names}
    with pytest.raises(ModelError, match="not on the same layers: export the whole model with --merge"):
        stack_adapters([adapter, adapter], [1.0, 1.0])


@pytest.mark.parametrize("gone", ["sft/1", "student/0"])
def test_a_base_that_is_gone_is_one_sentence(store: Path, gone: str) -> None:
    shutil.rmtree(store / gone)
    with pytest.raises(
        ModelError,
        match=rf"^{store}/\S+ holds an adapter over the checkpoint {store / gone}, which is gone: give the command",
    ):
        load_checkpoint(store / "dpo" / "2", dtype=torch.float32)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda file: file.unlink(), "is no adapter: it has no adapter_model.safetensors"),
        (lambda file: file.write_bytes(file.read_bytes()[:50]), "cannot be loaded"),
        (lambda file: save_file(dict(list(load_file(file).items())[1:]), file), "does not fit the model under it"),
    ],
)
def test_a_damaged_adapter_is_one_sentence(store: Path, damage, fault: str) -> None:  # type: ignore[no-untyped-def]
    damage(store / "sft" / "1" / "adapter" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=fault) as raised:
        load_checkpoint(store / "dpo" / "2", dtype=torch.float32)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["q_proj", "lm_head"]])
def test_an_adapter_on_tied_embeddings_is_refused(student, targets: list[str]) -> None:  # type: ignore[no-untyped-def]
    """Before training, and where it comes from elsewhere."""
    fault = (
        r"(lm_head|embed_tokens)\.weight would change .*(lm_head|embed_tokens)\.weight as well.*student\.lora\.targets"
    )
    with pytest.raises(ModelError, match=fault):
        adapters.refuse_shared(get_peft_model(student.model, PeftLora(r=2, target_modules=targets)))


def test_targets_with_shared_weights_are_refused_before_training(student) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=r"student\.lora\.targets"):
        add_lora(student.model, LoraConfig(2, 4, r".*(lm_head|q_proj)"), seed=0)


def test_merging_that_computes_something_else_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda self: self.unload(), raising=False)
    with pytest.raises(ModelError, match=r"computes something else than beside it: logits of a prompt are .* apart"):
        load_checkpoint(store / "sft" / "1", dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_for_others_it_has_the_base_models_dtype(store: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    model = store / "student" / "0" / "model"
    AutoModelForCausalLM.from_pretrained(model, dtype=dtype).save_pretrained(model)
    write_merged(store / "dpo" / "2", tmp_path / "plain")
    written = load_file(tmp_path / "plain" / "model.safetensors")
    assert {weight.dtype for weight in written.values()} == {dtype}
    assert json.loads((tmp_path / "plain" / "config.json").read_text(encoding="utf-8"))["dtype"] == str(dtype)[6:]
    expected = load_checkpoint(store / "dpo" / "2", dtype=dtype).model
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", dtype="auto")
    assert torch.equal(plain(IDS).logits, expected(IDS).logits)
    assert (tmp_path / "plain" / "tokenizer.json").is_file()


def test_peft_loads_the_adapter_by_itself(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a model of the store from the adapter's folder; over a model elsewhere from anywhere."""
    monkeypatch.chdir(store / "sft" / "1" / "adapter")
    ours = load_checkpoint(store / "sft" / "1", dtype=torch.float32).model
    theirs = AutoPeftModelForCausalLM.from_pretrained(".")
    torch.testing.assert_close(theirs(input_ids=IDS).logits, ours(IDS).logits)
    monkeypatch.chdir("/")
    folder = store / "student" / "9"
    create_student(student_config(StudentKind.pretrained, str(store / "student/0/model")), None, folder, seed=0)
    train(folder, store / "sft" / "9", seed=1)
    elsewhere = AutoPeftModelForCausalLM.from_pretrained(store / "sft" / "9" / "adapter")
    assert torch.equal(elsewhere(input_ids=IDS).logits, theirs(input_ids=IDS).logits)


def test_an_adapter_on_embeddings_of_their_own_is_saved_without_them(store: Path, tmp_path: Path) -> None:
    """Untied, an adapter may lie on the head and on the embeddings: each is merged into its own weight alone."""
    base = tmp_path / "untied"
    shutil.copytree(store / "student" / "0", base)
    model = AutoModelForCausalLM.from_pretrained(base / "model", dtype=torch.float32)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.save_pretrained(base / "model")
    student = load_checkpoint(base, dtype=torch.float32)
    assert student.model.lm_head.weight is not student.model.model.embed_tokens.weight
    embeddings = student.model.model.embed_tokens.weight.detach().clone()
    adapted = add_lora(student.model, LoraConfig(2, 4, r".*(lm_head|q_proj)"), seed=0)
    with torch.no_grad():
        weights = {name: weight.add_(0.3) for name, weight in adapted.named_parameters() if weight.requires_grad}
    save_trained(tmp_path / "tuned", base, adapted, student.tokenizer, weights)
    assert all("lora_" in name for name in load_file(tmp_path / "tuned" / "adapter" / "adapter_model.safetensors"))
    loaded = load_checkpoint(tmp_path / "tuned", dtype=torch.float32).model
    assert torch.equal(loaded.model.embed_tokens.weight, embeddings)
    assert not torch.equal(loaded.lm_head.weight, embeddings)
    torch.testing.assert_close(loaded(IDS).logits, adapted(input_ids=IDS).logits)


def test_a_file_that_computes_something_else_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a program writes tied weights once and reads them as two."""
    write = PreTrainedModel.save_pretrained

    def write_otherwise(model: PreTrainedModel, folder: str, **options: object) -> None:
        write(model, folder, **options)
        file = Path(folder) / "model.safetensors"
        weights = load_file(file)
        weights["model.norm.weight"] = weights["model.norm.weight"] * torch.linspace(0.5, 1.5, 16)
        save_file(weights, file, metadata={"format": "pt"})

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", write_otherwise)
    with pytest.raises(ModelError, match="merged into its base computes something else"):
        write_merged(store / "dpo" / "2", tmp_path / "plain")
