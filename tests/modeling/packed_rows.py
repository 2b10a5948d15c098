"""Tiny models, and their log-probabilities and gradients on packed rows and by plain forward passes."""

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from medcritical.batching import pack_row
from medcritical.modeling.packed import packed, response_logps

VOCABULARY = 29


def build(kind: str, keeps_norms: bool = False, **changes: Any) -> PreTrainedModel:
    """A tiny model with grouped queries; wide initial weights make attention matter, and norms have weights that are not 1."""
    torch.manual_seed(0)
    values = {
        "vocab_size": VOCABULARY,
        "hidden_size": 24,
        "intermediate_size": 20,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
        "sliding_window": None,
        "attn_implementation": "sdpa",
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **changes,
    }
    config = AutoConfig.for_model(kind, **values)
    model = AutoModelForCausalLM.from_config(config).double()
    norms = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if type(child).__name__.endswith("RMSNorm")
    ]
    for module, name, norm in norms:
        if not keeps_norms:
            # The model's own works in float32 whatever it is given, and hides differences of float64.
            norm = nn.RMSNorm(norm.weight.shape[0], eps=norm.variance_epsilon, dtype=torch.float64)
            setattr(module, name, norm)
        if getattr(norm, "weight", None) is not None:
            norm.weight.data.uniform_(0.5, 1.5)
    return model


def with_adapters(model: nn.Module) -> nn.Module:
    """LoRA on all linear layers, with B as after some training."""
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")).double()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    return adapted


def ids(*lengths: int) -> list[list[int]]:
    return [torch.randint(3, VOCABULARY, (length,)).tolist() for length in lengths]


def sequences() -> list[tuple[list[int], list[int]]]:
    """Three questions: four responses, of which one comes twice and one is a single token; one; and two."""
    torch.manual_seed(1)
    one, two, three = ids(7, 1, 12)
    a, b, c, d = ids(5, 1, 9, 4)
    (e,) = ids(6)
    f, g = ids(3, 8)
    return [(one, a), (two, e), (one, b), (one, a), (three, f), (one, c), (three, g), (one, d)]


def plain_logp(model: nn.Module, prompt: list[int], response: list[int]) -> Tensor:
    logits = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(response)[:, None]).sum()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def packed_and_plain(model: nn.Module) -> tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Log-probabilities and gradients of a weighted sum of them, both ways."""
    examples = sequences()
    weights = torch.linspace(-1, 2, len(examples), dtype=next(model.parameters()).dtype)
    row, found = pack_row(examples)
    with packed(model):
        ours = response_logps(model, row)[0][found]
        (ours * weights).sum().backward()
    our_gradients = gradients(model)
    plain = torch.stack([plain_logp(model, *example) for example in examples])
    (plain * weights).sum().backward()
    return ours, plain, our_gradients, gradients(model)


def assert_close(model: nn.Module, logp: float, gradient: float) -> None:
    ours, plain, our_gradients, their_gradients = packed_and_plain(model)
    assert (ours - plain).abs().max() <= logp
    assert our_gradients.keys() == their_gradients.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    for name, expected in their_gradients.items():
        assert expected.norm() > 0, name
        assert (our_gradients[name] - expected).norm() <= gradient * expected.norm(), name
