import json
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_students import scratch_config, student_config

from medcritical.config.choices import StudentKind
from medcritical.config.schema import LoraConfig
from medcritical.errors import ModelError
from medcritical.modeling.checkpoint import load_checkpoint, save_checkpoint, save_trained
from medcritical.modeling.lora import add_lora
from medcritical.modeling.record import Checkpoint, write_checkpoint
from medcritical.modeling.student import create_student


def load(folder: Path):
    return load_checkpoint(folder, dtype=torch.float32)


IDS = torch.tensor([[1, 2, 3, 4]])


def test_saved_model_computes_the_same(student, tmp_path):
    save_checkpoint(tmp_path / "copy", student.model, student.tokenizer)
    copy = load(tmp_path / "copy")
    assert torch.equal(copy.model(IDS).logits, student.model(IDS).logits)
    assert copy.tokenizer.chat_template == student.tokenizer.chat_template
    assert copy.model.generation_config.eos_token_id == student.tokenizer.eos_token_id
    assert not list(tmp_path.rglob("*.bin"))
    assert not copy.model.training


def test_saving_an_adapter_leaves_the_model_as_it_is(student, scratch_folder, tmp_path):
    before = student.model(IDS).logits
    adapted = add_lora(student.model, LoraConfig(2, 4, "all-linear"), seed=0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.3)
    expected = adapted(input_ids=IDS).logits
    assert not torch.allclose(expected, before, atol=1e-3)
    state = {name: weight.clone() for name, weight in adapted.state_dict().items()}
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    save_trained(tmp_path / "tuned", scratch_folder, adapted, student.tokenizer, trained)
    loaded = load(tmp_path / "tuned").model
    torch.testing.assert_close(loaded(IDS).logits, expected)
    assert not any("lora" in name for name in loaded.state_dict())
    after = adapted.state_dict()
    assert after.keys() == state.keys(), "the model that goes on training keeps its adapters apart"
    assert all(torch.equal(after[name], weight) for name, weight in state.items())


def test_dtype_of_weights_is_the_one_asked_for(scratch_folder):
    assert load_checkpoint(scratch_folder, dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_folder_without_record_is_no_checkpoint(tmp_path):
    with pytest.raises(ModelError, match=r"is no checkpoint: it has no checkpoint\.json"):
        load(tmp_path)


def test_malformed_record_is_refused(tmp_path):
    (tmp_path / "checkpoint.json").write_text('{"model": "model", "surprise": 1}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"checkpoint\.json cannot be read.*surprise"):
        load(tmp_path)


@pytest.mark.parametrize(
    "record", ["{}", '{"adapter": "adapter"}', '{"base": "../a"}', '{"model": "model", "base": "../a"}']
)
def test_a_record_of_neither_model_nor_adapter_is_refused(tmp_path, record):
    (tmp_path / "checkpoint.json").write_text(record, encoding="utf-8")
    with pytest.raises(ModelError, match=r"checkpoint\.json cannot be read.*(either a model or a base|has an adapter)"):
        load(tmp_path)


def test_pickled_weights_are_refused(scratch_folder):
    model = scratch_folder / "model"
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="its weights are pickled"):
        load(scratch_folder)
    with pytest.raises(ModelError, match="its weights are pickled"):
        create_student(student_config(StudentKind.pretrained, str(model)), None, scratch_folder / "p", seed=0)


def test_missing_weights_are_not_filled_with_random_numbers(scratch_folder):
    path = scratch_folder / "model" / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"lacks 1 weights of its architecture, model\.layers\.1\.mlp\.up_proj\.weight"
    ):
        load(scratch_folder)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_damaged_file_is_one_sentence(scratch_folder, file):
    path = scratch_folder / "model" / file
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model") as raised:
        load(scratch_folder)
    assert "\n" not in str(raised.value)


def test_model_that_is_no_language_model_is_refused(scratch_folder):
    config = scratch_folder / "model" / "config.json"
    config.write_text('{"model_type": "vit", "architectures": ["ViTModel"]}', encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        load(scratch_folder)


def test_code_that_comes_with_a_model_is_not_run(scratch_folder):
    model = scratch_folder / "model"
    (model / "modeling_own.py").write_text("raise SystemExit('code of the model was run')", encoding="utf-8")
    config = {
        "model_type": "own",
        "auto_map": {"AutoConfig": "modeling_own.C", "AutoModelForCausalLM": "modeling_own.M"},
    }
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(scratch_folder)


def test_hub_model_without_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    write_checkpoint(tmp_path, Checkpoint(model="no-such-owner/no-such-model"))
    with pytest.raises(
        ModelError, match=r"no-such-owner/no-such-model cannot be loaded.*give a local folder"
    ) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


def test_scratch_needs_a_vocabulary(tmp_path):
    with pytest.raises(ModelError, match="needs an architecture and a vocabulary"):
        create_student(scratch_config(), None, tmp_path, seed=0)
