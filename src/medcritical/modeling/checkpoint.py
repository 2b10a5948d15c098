"""Checkpoints: a folder with `checkpoint.json`, which says where the model is.

A checkpoint of ours keeps the model in `model/`, a plain Hugging Face folder that any program can load, and the adapter
it was merged from in `adapter/`. The checkpoint of a pretrained student is a pointer: its model stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from medcritical.errors import ModelError
from medcritical.modeling.record import (
    ADAPTER_FOLDER,
    MODEL_FOLDER,
    Checkpoint,
    find_model,
    read_checkpoint,
    write_checkpoint,
)


@dataclass(frozen=True)
class Student:
    """A causal language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_checkpoint(folder: Path, *, dtype: torch.dtype) -> Student:
    """Return the student of the checkpoint in `folder`, on CPU, in evaluation mode, with weights of `dtype`.

    Only safetensors are read, and code that comes with a model runs only where the checkpoint says so.

    Raises:
        ModelError: no checkpoint, or its model is missing, damaged, incomplete, pickled or no causal language model.
    """
    checkpoint = read_checkpoint(folder)
    source = find_model(folder)
    if Path(source).is_absolute() or checkpoint.model == MODEL_FOLDER:
        check_model_folder(Path(source))
    where = {"revision": checkpoint.revision or "main", "trust_remote_code": checkpoint.trust_remote_code}
    with model_errors(source):
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        model, loading = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, attn_implementation="sdpa", output_loading_info=True, **where
        )
    # transformers fills what a file lacks with random numbers and only warns.
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(f"{source} lacks {len(missing)} weights of its architecture, {missing[0]} first")
    return Student(model.eval(), tokenizer)


def save_checkpoint(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write `model` to `folder`/model so that AutoModelForCausalLM loads it, with tokenizer and chat template.

    The record is written last.
    """
    _write_model(folder, model, tokenizer, None, adapter=None)


def save_trained(
    folder: Path,
    source: Path,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[str, Tensor],
) -> None:
    """Write a trained model to `folder`/model so that AutoModelForCausalLM loads it, with tokenizer and chat template.

    Adapters go to `folder`/adapter, and to `folder`/model merged into the checkpoint in `source`, which is loaded once more
    for that: the trained model may be in parts on many ranks, or in other numbers.

    Args:
        source: the checkpoint that training began with.
        weights: the trained weights by their name in `model`, whole.
    """
    if not isinstance(model, PeftModel):
        rest = {name: value for name, value in model.state_dict().items() if name not in weights}
        assert all(value.numel() for value in rest.values()), "a weight that was not trained is in parts"
        _write_model(folder, model, tokenizer, {**rest, **weights}, adapter=None)
        return
    model.save_pretrained(str(folder / ADAPTER_FOLDER), state_dict=dict(weights), safe_serialization=True)
    base = load_checkpoint(source, dtype=torch.float32).model
    merged = PeftModel.from_pretrained(base, str(folder / ADAPTER_FOLDER)).merge_and_unload()
    _write_model(folder, merged, tokenizer, None, adapter=ADAPTER_FOLDER)


def _write_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: dict[str, Tensor] | None,
    adapter: str | None,
) -> None:
    model.save_pretrained(str(folder / MODEL_FOLDER), state_dict=weights, safe_serialization=True)
    tokenizer.save_pretrained(str(folder / MODEL_FOLDER))
    # save_pretrained copies the code of a model that came with its own, which needs the same permission to be loaded.
    is_custom = type(model).__module__.startswith("transformers_modules")
    write_checkpoint(folder, Checkpoint(model=MODEL_FOLDER, trust_remote_code=is_custom, adapter=adapter))


def check_model_folder(folder: Path) -> None:
    """Check that `folder` looks like a Hugging Face model with safetensors weights.

    Raises:
        ModelError: it is no folder, has no config.json, or no safetensors.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is no model: there is no such folder")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no model: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth"))
        reason = "its weights are pickled, and reading those can run code; convert them to" if pickled else "it has no"
        raise ModelError(f"{folder} is no model: {reason} safetensors")


@contextmanager
def model_errors(source: str) -> Iterator[None]:
    """Turn what transformers raises for a model that cannot be had into a ModelError of one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        remedy = (
            "" if Path(source).is_absolute() else "; check the name, the network and access, or give a local folder"
        )
        raise ModelError(f"{source} cannot be loaded as a causal language model: {reason}{remedy}") from error
