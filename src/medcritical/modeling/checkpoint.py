"""Checkpoints: a folder with `checkpoint.json`, which says where the weights are.

A checkpoint that was trained in full keeps its model in `model/`, a plain Hugging Face folder that any program can load. One
that was trained with LoRA keeps its adapter in `adapter/` and the name of the checkpoint under it. The checkpoint of a
pretrained student is a pointer: its model stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from medcritical.errors import ModelError
from medcritical.modeling.adapters import check_agreement, merge_adapters, probe
from medcritical.modeling.record import (
    ADAPTER_FOLDER,
    MODEL_FOLDER,
    Checkpoint,
    Weights,
    find_weights,
    point_to_base,
    read_checkpoint,
    write_checkpoint,
)


@dataclass(frozen=True)
class Student:
    """A causal language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_checkpoint(folder: Path, *, dtype: torch.dtype, shards: AbstractContextManager[None] | None = None) -> Student:
    """Return the student of the checkpoint in `folder`, on CPU, in evaluation mode, with weights of `dtype`.

    Adapters are merged into the model under them in float32, and then narrowed: the numbers that a merged float32 model on
    disk would give. Only safetensors are read, and code that comes with a model runs only where the checkpoint says so.

    Args:
        shards: ZeRO 3's `sharded_loading`, not entered yet: the weights come in parts. Adapters are merged before, by rank 0.

    Raises:
        ModelError: no checkpoint, or its model, its adapter or its base is missing, damaged, incomplete, pickled or no causal
            language model.
    """
    weights, tokenizer = find_weights(folder), load_tokenizer(folder)
    if not weights.adapters:
        with shards or nullcontext():
            return Student(_load_model(weights, dtype), tokenizer)
    model = _load_merged(weights) if shards is None or _is_first_rank() else _load_shapes(weights)
    if dtype != torch.float32 or shards is not None:
        with shards or nullcontext():
            model = _loaded_again(model, dtype)
    return Student(model, tokenizer)


def write_merged(checkpoint: Path, folder: Path) -> None:
    """Write the model of a checkpoint, adapters merged, as a plain Hugging Face folder, in its base model's own dtype.

    Its logits must be those in float32 within the dtype's tolerance, and what was written and read again must give its own.

    Raises:
        ModelError: the checkpoint cannot be loaded, or the merged or the written model computes something else.
    """
    weights, tokenizer, what = find_weights(checkpoint), load_tokenizer(checkpoint), f"the adapter of {checkpoint}"
    model, dtype = _load_merged(weights), _own_dtype(weights)
    expected = probe(model)
    if dtype != torch.float32:
        model = _loaded_again(model, dtype)
        narrowed = probe(model)
        check_agreement(expected, narrowed, dtype, what)
        expected = narrowed
    model.save_pretrained(str(folder), safe_serialization=True)
    tokenizer.save_pretrained(str(folder))
    del model
    with model_errors(str(folder)):
        written = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, use_safetensors=True, trust_remote_code=weights.trust_remote_code
        )
    check_agreement(expected, probe(written.eval()), torch.float32, what)


def load_tokenizer(checkpoint: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint: that of the whole model it begins with. Raises ModelError."""
    weights = find_weights(checkpoint)
    if weights.is_local:
        check_model_folder(Path(weights.model))
    with model_errors(weights.model):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(weights.model, **_hub_arguments(weights))
    return tokenizer


def _hub_arguments(weights: Weights) -> dict[str, Any]:
    return {"revision": weights.revision or "main", "trust_remote_code": weights.trust_remote_code}


def _own_dtype(weights: Weights) -> torch.dtype:
    """What the model's configuration says its weights are; float32 where it says nothing, which loses nothing."""
    with model_errors(weights.model):
        dtype = AutoConfig.from_pretrained(weights.model, **_hub_arguments(weights)).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _load_model(weights: Weights, dtype: torch.dtype) -> PreTrainedModel:
    """The whole model that a checkpoint begins with."""
    with model_errors(weights.model):
        model, loading = AutoModelForCausalLM.from_pretrained(
            weights.model,
            dtype=dtype,
            use_safetensors=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            **_hub_arguments(weights),
        )
    # transformers fills what a file lacks with random numbers and only warns.
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(f"{weights.model} lacks {len(missing)} weights of its architecture, {missing[0]} first")
    return model.eval()


def _load_merged(weights: Weights) -> PreTrainedModel:
    """The model in float32 with all adapters merged into it."""
    model = _load_model(weights, torch.float32)
    with model_errors(str(weights.adapters[-1] if weights.adapters else weights.model)):
        return merge_adapters(model, weights.adapters)


def _is_first_rank() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _load_shapes(weights: Weights) -> PreTrainedModel:
    """The model without numbers, for a rank that is given its part of them by rank 0."""
    with model_errors(weights.model), torch.device("meta"):
        config = AutoConfig.from_pretrained(weights.model, **_hub_arguments(weights))
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=weights.trust_remote_code
        )
        return model


def _loaded_again(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same model as transformers loads one of `dtype` from a file, cut up under ZeRO 3."""
    generation = model.generation_config
    again = (
        type(model)
        .from_pretrained(
            None,
            config=model.config,
            state_dict=dict(model.state_dict()),  # as from a file: DeepSpeed's loading trips over torch's own kind
            dtype=dtype,
            attn_implementation="sdpa",
        )
        .eval()
    )
    again.generation_config = generation
    return again


def save_checkpoint(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write `model` to `folder`/model so that AutoModelForCausalLM loads it, with tokenizer and chat template.

    The record is written last.
    """
    _write_model(folder, model, tokenizer, None)


def save_trained(
    folder: Path,
    source: Path,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[str, Tensor],
) -> None:
    """Write a trained model: whole to `folder`/model, or its adapter alone to `folder`/adapter.

    Args:
        source: the checkpoint that training began with. An adapter lies over it; the record names it.
        weights: the trained weights by their name in `model`, whole.
    """
    if not isinstance(model, PeftModel):
        rest = {name: value for name, value in model.state_dict().items() if name not in weights}
        assert all(value.numel() for value in rest.values()), "a weight that was not trained is in parts"
        _write_model(folder, model, tokenizer, {**rest, **weights})
        return
    _name_base(model, folder / ADAPTER_FOLDER, source)
    # Embeddings are never saved whole beside an adapter on them: training has not changed them.
    options = {"safe_serialization": True, "save_embedding_layers": False}
    model.save_pretrained(str(folder / ADAPTER_FOLDER), state_dict=dict(weights), **options)
    write_checkpoint(folder, Checkpoint(adapter=ADAPTER_FOLDER, base=point_to_base(folder, source)))


def _name_base(model: PeftModel, adapter: Path, source: Path) -> None:
    """Say in the adapter's own configuration what it lies over, for peft.

    A Hugging Face id or a folder elsewhere as it is; a model of the same store as a path from the adapter's folder. Over other
    adapters there is no such model: it is the folder of their checkpoint, which peft cannot load.
    """
    weights = find_weights(source)
    if weights.adapters:
        name = point_to_base(adapter, source)
    elif read_checkpoint(source).model == MODEL_FOLDER:
        name = point_to_base(adapter, Path(weights.model))
    else:
        name = weights.model
    for config in model.peft_config.values():
        config.base_model_name_or_path, config.revision = name, weights.revision or None


def _write_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: dict[str, Tensor] | None,
) -> None:
    model.save_pretrained(str(folder / MODEL_FOLDER), state_dict=weights, safe_serialization=True)
    tokenizer.save_pretrained(str(folder / MODEL_FOLDER))
    # save_pretrained copies the code of a model that came with its own, which needs the same permission to be loaded.
    is_custom = type(model).__module__.startswith("transformers_modules")
    write_checkpoint(folder, Checkpoint(model=MODEL_FOLDER, trust_remote_code=is_custom))


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
    except ModelError:  # says so already; it is a ValueError itself
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        remedy = (
            "" if Path(source).is_absolute() else "; check the name, the network and access, or give a local folder"
        )
        raise ModelError(f"{source} cannot be loaded as a causal language model: {reason}{remedy}") from error
