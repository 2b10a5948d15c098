"""The student before any training, as a checkpoint: from scratch, from Hugging Face, a folder, or a packaged GGUF."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from medcritical.config.choices import StudentKind
from medcritical.config.packaged import PACKAGE, find_packaged_gguf
from medcritical.config.schema import ArchitectureConfig, StudentConfig
from medcritical.errors import ModelError
from medcritical.modeling.checkpoint import check_model_folder, model_errors, save_checkpoint
from medcritical.modeling.record import MODEL_FOLDER, Checkpoint, write_checkpoint
from medcritical.modeling.word_tokenizer import build_word_tokenizer


def create_student(
    student: StudentConfig, vocabulary: Sequence[str] | None, folder: Path, seed: int
) -> dict[str, str | int]:
    """Write the untrained student as a checkpoint into `folder` and return facts about it for the manifest.

    A scratch student gets `vocabulary` and random weights that depend on `seed` alone. A pretrained one is pointed to;
    only a packaged GGUF is copied, converted to float32 safetensors because reading those is 200 times faster.
    Facts are `model`, and `parameters` and `vocabulary` (numbers) unless the model is still on a hub.

    Raises:
        ModelError: the student does not exist, is no safe model, or its shape is impossible.
    """
    if student.kind is StudentKind.scratch:
        if student.architecture is None or vocabulary is None:
            raise ModelError(
                f"student {student.name!r} is made from scratch and needs an architecture and a vocabulary"
            )
        return _create_scratch(student.architecture, vocabulary, folder, seed)
    if student.source.startswith(PACKAGE):
        return _convert_gguf(find_packaged_gguf(student.source), folder)
    return _point_to(student, folder)


def _create_scratch(
    architecture: ArchitectureConfig, vocabulary: Sequence[str], folder: Path, seed: int
) -> dict[str, str | int]:
    tokenizer = build_word_tokenizer(vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(_build_llama_config(architecture, tokenizer))
    save_checkpoint(folder, model, tokenizer)
    return _describe(folder / MODEL_FOLDER, MODEL_FOLDER)


def _build_llama_config(architecture: ArchitectureConfig, tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    if architecture.hidden_size % (2 * architecture.num_heads):
        raise ModelError(
            f"student.architecture.hidden_size {architecture.hidden_size} must be a multiple of twice num_heads "
            f"{architecture.num_heads}: rotary positions turn pairs of numbers in every head"
        )
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        intermediate_size=architecture.intermediate_size,
        num_hidden_layers=architecture.num_layers,
        num_attention_heads=architecture.num_heads,
        num_key_value_heads=architecture.num_heads,
        max_position_embeddings=architecture.max_position_embeddings,
        initializer_range=architecture.initializer_range,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _point_to(student: StudentConfig, folder: Path) -> dict[str, str | int]:
    """Write a pointer to a local folder or Hugging Face id. An id is not looked up here: nothing is downloaded."""
    path = Path(student.source).expanduser()
    is_local = path.is_dir() or path.is_absolute() or student.source.startswith((".", "~"))
    source = str(path.resolve()) if is_local else student.source
    if is_local:
        check_model_folder(Path(source))
    elif not source or source == MODEL_FOLDER or source.count("/") > 1:
        raise ModelError(
            f"student.source {source!r} is neither a folder, nor a Hugging Face id, nor package:NAME/FILE.gguf"
        )
    checkpoint = Checkpoint(model=source, revision=student.revision, trust_remote_code=student.trust_remote_code)
    write_checkpoint(folder, checkpoint)
    if not is_local:
        return {"model": source}
    return _describe(Path(source), source, trust_remote_code=student.trust_remote_code)


def _convert_gguf(path: Path, folder: Path) -> dict[str, str | int]:
    """Write the model of a GGUF file as float32 safetensors. About 20 seconds for 135M weights."""
    if importlib.util.find_spec("gguf") is None:
        raise ModelError("a GGUF student needs the package gguf, which is not installed; run `pip install gguf`")
    with model_errors(str(path)):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            # Without it the weights stay packed and save_pretrained refuses the model.
            quantization_config=GgufConfig(dequantize=True),
        )
    save_checkpoint(folder, model, tokenizer)
    return _describe(folder / MODEL_FOLDER, MODEL_FOLDER)


def _describe(folder: Path, source: str, *, trust_remote_code: bool = False) -> dict[str, str | int]:
    """Return facts about the model in `folder` from its headers; weights are not read and tied ones count once."""
    parameters = 0
    with model_errors(str(folder)):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as weights:
                parameters += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return {"model": source, "parameters": parameters, "vocabulary": config.get_text_config().vocab_size}
