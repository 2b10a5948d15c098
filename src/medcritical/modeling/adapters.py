"""Adapters merged into the model under them: in memory, checked, and never into weights that are shared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from medcritical.errors import ModelError
from medcritical.modeling.record import ADAPTER_CONFIG, ADAPTER_WEIGHTS

PROBE_TOKENS = 32
TOLERANCES = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative distance of logits from those in float32, by the numbers that the merged weights are in.

Rounding alone, SmolLM2-135M with two adapters: 8e-7, 2e-3, 2.4e-2. It grows with a model's depth.
"""


def merge_adapters(model: PreTrainedModel, adapters: Sequence[Path]) -> PreTrainedModel:
    """Return `model` (float32, evaluation mode) with the adapters of these folders merged into its weights, one after the other.

    W + (alpha / rank) B A in float32: the numbers that `merge_and_unload` of peft gives. The logits of a prompt are
    computed with each adapter apart and merged, and must agree.

    Raises:
        ModelError: an adapter is missing, damaged, pickled or of another model, it lies on shared weights, or logits differ.
    """
    for folder in adapters:
        adapted = _read_adapter(model, folder)
        refuse_shared(adapted)
        apart = probe(adapted)
        model = adapted.merge_and_unload()
        check_agreement(apart, probe(model), torch.float32, f"the adapter in {folder}")
    return model


def _read_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The model with an adapter beside its weights; all of the adapter's numbers are in the file."""
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is no adapter: it has no {name}")
    adapted = PeftModel.from_pretrained(model, str(folder), torch_device="cpu").eval()
    expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    there = set(load_file(folder / ADAPTER_WEIGHTS))
    if expected != there:  # peft only warns, and goes on with random numbers
        raise ModelError(
            f"{folder} does not fit the model under it: {sorted(expected ^ there)[0]} is on one side alone"
        )
    return adapted


def refuse_shared(adapted: PeftModel) -> None:
    """Check that no adapter lies on a weight that another layer uses too: merging would change that layer as well.

    Raises:
        ModelError: there is one; tied embeddings, mostly.
    """
    names: dict[int, list[str]] = {}
    for name, weight in adapted.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name.removeprefix("base_model.model.").replace(".base_layer", ""))
    for layer in adapted.modules():
        if isinstance(layer, BaseTunerLayer):
            shared = names.get(id(layer.get_base_layer().weight), [])
            if len(shared) > 1:
                raise ModelError(
                    f"an adapter on {shared[0]} would change {shared[1]} as well, for they are one weight (tied embeddings): "
                    "leave both out of student.lora.targets; all-linear does"
                )


@torch.no_grad()
def probe(model: PreTrainedModel | PeftModel) -> Tensor:
    """Logits of a prompt of token ids spread over the vocabulary, `[tokens, vocabulary]`, float32."""
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = torch.linspace(0, vocabulary - 1, min(PROBE_TOKENS, vocabulary)).long().unsqueeze(0)
    logits: Tensor = model(input_ids=ids.to(model.device), use_cache=False).logits
    return logits[0].float()


def check_agreement(apart: Tensor, merged: Tensor, dtype: torch.dtype, what: str) -> None:
    """Check that |merged - apart| <= tolerance(dtype) |apart|, Euclidean norms over all logits of the prompt.

    Raises:
        ModelError: they are further apart, or not finite.
    """
    distance = float((merged - apart).norm() / apart.norm().clamp_min(1e-12))
    tolerance = TOLERANCES.get(dtype, TOLERANCES[torch.float32])
    if not distance <= tolerance:  # nan too
        raise ModelError(
            f"{what} merged into its base computes something else than beside it: logits of a prompt are {distance:.2g} apart "
            f"(relative; at most {tolerance:g}): report this model, or train it in full (student.lora=null)"
        )
