"""Adapters as files, for programs other than this one: named after their base, several over one another as one. No torch."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from medcritical.errors import ModelError
from medcritical.modeling.record import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Weights

LoraTensors = Mapping[str, NDArray[np.float32]]
_PLAIN = re.compile(r"\.lora_[AB]\.")


def write_adapter(weights: Weights, folder: Path) -> None:
    """Write the adapters of a checkpoint into a new `folder` as one that peft loads over the model they begin with.

    A single one is copied. Several become one of the sum of their ranks, exactly:
    W + s1 B1 A1 + s2 B2 A2 = W + [s1 B1, s2 B2] [A1; A2] with s = alpha / rank.

    Raises:
        ModelError: one is missing or damaged, or they are not on the same layers.
    """
    configs = [_read_config(adapter) for adapter in weights.adapters]
    tensors = [_read_tensors(adapter) for adapter in weights.adapters]
    config = {**configs[-1], "base_model_name_or_path": weights.model, "revision": weights.revision or None}
    shutil.copytree(weights.adapters[-1], folder, copy_function=shutil.copyfile)
    if len(configs) > 1:
        scales = [config["lora_alpha"] / config["r"] for config in configs]
        save_file(stack_adapters(tensors, scales), folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        config["r"] = config["lora_alpha"] = sum(config["r"] for config in configs)
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def stack_adapters(adapters: Sequence[LoraTensors], scales: Sequence[float]) -> dict[str, NDArray[np.float32]]:
    """One adapter of scale 1 that adds what these add together; `[rank, in]` of A and `[out, rank]` of B grow in rank.

    Raises:
        ModelError: they are not on the same layers, or one is no plain LoRA of linear layers.
    """
    names = set(adapters[0])
    if any(set(adapter) != names for adapter in adapters) or not all(map(_PLAIN.search, names)):
        raise ModelError("adapters over one another are not on the same layers: export the whole model with --merge.")
    return {
        name: np.concatenate([adapter[name] for adapter in adapters], axis=0)
        if ".lora_A." in name
        else np.concatenate(
            [np.float32(scale) * adapter[name] for adapter, scale in zip(adapters, scales, strict=True)], axis=1
        )
        for name in names
    }


def _read_config(adapter: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(adapter, error) from error
    return config


def _read_tensors(adapter: Path) -> LoraTensors:
    try:
        return load_file(adapter / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise _unreadable(adapter, error) from error


def _unreadable(adapter: Path, error: Exception) -> ModelError:
    return ModelError(f"{adapter} cannot be read as an adapter: {error}")
