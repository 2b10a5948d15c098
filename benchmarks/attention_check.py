"""Whether packed rows on a device give what plain forward passes give there, sequence by sequence."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from medcritical.batching import pack_row
from medcritical.errors import MedCriticalError
from medcritical.modeling.packed import packed, response_logps

Sequences = list[tuple[list[int], list[int]]]

SIZES = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
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
                differences[name] = difference
                if difference > tolerance:
                    raise MedCriticalError(f"packed rows on {device} are wrong: {name} differ by {difference:.1e}")
    return differences


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
    logps, gradients = zip(ours, _with_gradients(model, plain), strict=True)
    return (
        ((logps[0] - logps[1]).abs().max() / logps[1].abs().max()).item(),
        ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item(),
    )


def _with_gradients(model: PreTrainedModel, logps: Tensor) -> tuple[Tensor, Tensor]:
    """The values, and the gradient of their sum with unequal weights in all parameters, one vector each, float32."""
    model.zero_grad()
    weights = torch.linspace(1, 2, len(logps), device=logps.device)
    (logps.float() * weights).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad.float().flatten() for parameter in model.parameters() if parameter.grad is not None]
    return logps.detach().float(), torch.cat(gradients)


def _plain_logp(model: PreTrainedModel, prompt: list[int], response: list[int]) -> Tensor:
    ids = torch.tensor([prompt + response], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    logps: Tensor = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None]).sum()
    return logps
