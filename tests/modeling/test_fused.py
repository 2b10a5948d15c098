"""Fused layers against the modules they stand in for."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from medcritical.modeling.fused import FusedGatedUnit, FusedLora, fused


def build(kind: str = "qwen2", **lora: Any) -> nn.Module:
    """Two layers with adapters whose B is not zero; Qwen2 has biases. In float64 a wrong formula cannot hide."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model(kind, vocab_size=40, num_key_value_heads=1, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    adapted = get_peft_model(
        model, LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", task_type="CAUSAL_LM", **lora)
    ).double()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return adapted


def classes(model: nn.Module) -> list[type]:
    return [type(module) for module in model.modules()]


def logits_and_gradients(model: nn.Module) -> dict[str, Tensor]:
    logits = model(input_ids=torch.arange(12).view(2, 6), use_cache=False).logits
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view(logits.shape)).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {"logits": logits.detach(), **found}


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_outputs_and_gradients_are_those_of_the_plain_layers(kind: str) -> None:
    model = build(kind)
    before = classes(model)
    plain = logits_and_gradients(model)
    with fused(model):
        assert classes(model).count(FusedLora) == 14
        assert classes(model).count(FusedGatedUnit) == 2
        ours = logits_and_gradients(model)
    assert classes(model) == before
    assert ours.keys() == plain.keys()
    assert len(ours) == 1 + 28
    for name, expected in plain.items():
        assert expected.norm() > 0, name
        # transformers' norms work in float32 whatever they are given.
        assert (ours[name] - expected).norm() <= 1e-6 * expected.norm(), name


def test_one_layer_is_exact_in_float64() -> None:
    layer = build().base_model.model.model.layers[1].self_attn.q_proj
    x = torch.randn(2, 5, 16, dtype=torch.float64, requires_grad=True)

    def run() -> list[Tensor]:
        output = layer(x)
        weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
        inputs = [x, layer.lora_A["default"].weight, layer.lora_B["default"].weight]
        return [output, *torch.autograd.grad((output * weights).sum(), inputs)]

    plain = run()
    with fused(layer):
        for mine, expected in zip(run(), plain, strict=True):
            assert (mine - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_an_adapter_that_is_off_is_off() -> None:
    model = build()
    with model.disable_adapter():
        plain = model(input_ids=torch.arange(6)[None]).logits
        with fused(model):
            assert torch.equal(model(input_ids=torch.arange(6)[None]).logits, plain)
    with fused(model):
        assert not torch.allclose(model(input_ids=torch.arange(6)[None]).logits, plain)


def test_autocast_rounds_no_more_than_the_plain_layers_and_gives_gradients_in_their_own_type() -> None:
    model = build().float()
    exact = logits_and_gradients(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = logits_and_gradients(model)
        with fused(model):
            ours = logits_and_gradients(model)

    def error(found: dict[str, Tensor]) -> Tensor:
        differences = [found[name].float() - expected for name, expected in exact.items() if name != "logits"]
        return torch.cat([difference.flatten() for difference in differences]).norm()

    assert {name: value.dtype for name, value in ours.items()} == {name: value.dtype for name, value in plain.items()}
    assert 0 < error(ours) <= 1.5 * error(plain)


@pytest.mark.parametrize("lora", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_what_is_not_plain_lora_is_left_alone(lora: dict[str, Any]) -> None:
    model = build(**lora)
    with fused(model):
        assert FusedLora not in classes(model)


def test_sharded_and_trained_base_weights_are_left_alone() -> None:
    sharded, trained = build(), build()
    for parameter in sharded.parameters():
        parameter.ds_id = 1  # what ZeRO-3 marks its weights with
    for parameter in trained.parameters():
        parameter.requires_grad_(True)
    for model in (sharded, trained):
        with fused(model):
            assert FusedLora not in classes(model)


def test_classes_come_back_after_an_error() -> None:
    model = build()
    before = classes(model)
    with pytest.raises(RuntimeError, match="stop"), fused(model):
        raise RuntimeError("stop")
    assert classes(model) == before
