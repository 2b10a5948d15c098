"""Whether packed rows on a device give what plain forward passes give there, sequence by sequence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from medcritical.batching import pack_row
from medcritical.config.schema import Config
from medcritical.errors import MedCriticalError
from medcritical.modeling.lora import add_lora
from medcritical.modeling.packed import packed, response_logps
from medcritical.objectives import head
from medcritical.training.layout import prepared

Sequences = list[tuple[list[int], list[int]]]

SIZES = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
HEADS: dict[str, dict[str, Any]] = {
    "Qwen2.5-0.5B": {"num_attention_heads": 14, "num_key_value_heads": 2, "head_dim": 64},
    "Qwen2.5-7B": {"num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128},
}
"""Of the two shapes that are timed: 7 queries to a key."""

CHUNK_ROWS = 100
"""Response tokens whose logits are in memory together, of the 675 there are."""

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Relative: of log-probabilities to their largest, of gradients to their norm. The kernels differ, not the mask: a
wrong mask is off by tens of per cent in both types."""


def check_attention(device: str) -> dict[str, float]:
    """Largest relative differences in log-probabilities and gradients, by architecture and type.

    Raises:
        MedCriticalError: one is beyond its tolerance.
    """
    differences = {}
    for kind, config in ((LlamaForCausalLM, LlamaConfig), (Qwen2ForCausalLM, Qwen2Config)):
        for dtype, tolerance in TOLERANCE.items():
            torch.manual_seed(0)
            model = kind(config(**SIZES)).to(device, dtype)
            logps, gradients = compare_with_plain(model, random_sequences())
            for what, difference in (("log-probabilities", logps), ("gradients", gradients)):
                name = f"{config.model_type} {str(dtype).removeprefix('torch.')} {what}"
                differences[name] = _checked(device, name, difference, tolerance)
    return differences


def check_timed(device: str, config: Config) -> dict[str, float]:
    """The same of what is timed: adapters in fused layers under bfloat16 autocast, with and without recomputation, a head
    of several chunks, on a row that was scored in inference mode just before.

    Raises:
        MedCriticalError: a difference is beyond its tolerance.
    """
    differences = {}
    for shape, heads in HEADS.items():
        for saves in (False, True):
            model = _adapted(Qwen2Config(**SIZES | heads), config, device)
            with torch.autocast(device, torch.bfloat16), _several_chunks(device):
                logps, gradients = _compare_trained(model, config, saves=saves)
            kind = f"{shape}'s heads, LoRA, autocast{', recomputed' if saves else ''}"
            for what, difference in (("log-probabilities", logps), ("gradients", gradients)):
                name = f"{kind}, {what}"
                differences[name] = _checked(device, name, difference, TOLERANCE[torch.bfloat16])
    return differences


def _checked(device: str, name: str, difference: float, tolerance: float) -> float:
    if not difference <= tolerance:
        raise MedCriticalError(f"packed rows on {device} are wrong: {name} differ by {difference:.1e}")
    return difference


def _adapted(sizes: Qwen2Config, config: Config, device: str) -> PeftModel:
    """A model in float32, with adapters as after some training."""
    torch.manual_seed(0)
    assert config.student.lora is not None
    model = add_lora(Qwen2ForCausalLM(sizes), config.student.lora, seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.to(device)


@contextmanager
def _several_chunks(device: str) -> Iterator[None]:
    before = head.CHUNK_ELEMENTS[device]
    head.CHUNK_ELEMENTS[device] = CHUNK_ROWS * SIZES["vocab_size"]
    try:
        yield
    finally:
        head.CHUNK_ELEMENTS[device] = before


def _compare_trained(model: PeftModel, config: Config, *, saves: bool) -> tuple[float, float]:
    """As `compare_with_plain`, by the layers and the attention of a training after a reference pass."""
    sequences = random_sequences()
    row, places = pack_row(sequences)
    row, found = row.to(model.device), torch.tensor(places, device=model.device)
    trainer = replace(config.trainer, gradient_checkpointing=saves)
    with prepared(model.eval(), trainer, is_trained=False), torch.inference_mode():
        scored = response_logps(model, row)[0][found].clone()
    with prepared(model.train(), trainer, is_trained=True):
        ours = _with_gradients(model, response_logps(model, row)[0][found])
    plain = torch.stack([_plain_logp(model, prompt, response) for prompt, response in sequences])
    logps, gradients = _differences(ours, _with_gradients(model, plain))
    return max(logps, _differences((scored, ours[1]), ours)[0]), gradients


def random_sequences() -> Sequences:
    """Three questions with one, two and four responses; several kernel blocks of 128 tokens, none filled exactly."""
    generator = torch.Generator().manual_seed(0)

    def ids(length: int) -> list[int]:
        return torch.randint(0, SIZES["vocab_size"], (length,), generator=generator).tolist()

    sequences: Sequences = []
    for prompt, responses in ((70, [150]), (33, [5, 290]), (150, [61, 1, 128, 40])):
        prompt_ids = ids(prompt)
        sequences += [(prompt_ids, ids(length)) for length in responses]
    return sequences


def compare_with_plain(model: PreTrainedModel, sequences: Sequences) -> tuple[float, float]:
    """Relative differences of log-probabilities (largest) and gradients (norm of all), packed against plain."""
    row, places = pack_row(sequences)
    with packed(model):
        sums_S, _ = response_logps(model, row.to(model.device))
        ours = _with_gradients(model, sums_S[torch.tensor(places, device=sums_S.device)])
    plain = torch.stack([_plain_logp(model, prompt, response) for prompt, response in sequences])
    return _differences(ours, _with_gradients(model, plain))


def _differences(ours: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> tuple[float, float]:
    logps, gradients = zip(ours, plain, strict=True)
    return (
        ((logps[0] - logps[1]).abs().max() / logps[1].abs().max()).item(),
        ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item(),
    )


def _with_gradients(model: PreTrainedModel | PeftModel, logps: Tensor) -> tuple[Tensor, Tensor]:
    """The values, and the gradient of their sum with unequal weights in all parameters, one vector each, float32."""
    model.zero_grad()
    weights = torch.linspace(1, 2, len(logps), device=logps.device)
    (logps.float() * weights).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad.float().flatten() for parameter in model.parameters() if parameter.grad is not None]
    return logps.detach().float(), torch.cat(gradients)


def _plain_logp(model: PreTrainedModel | PeftModel, prompt: list[int], response: list[int]) -> Tensor:
    ids = torch.tensor([prompt + response], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    logps: Tensor = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None]).sum()
    return logps
