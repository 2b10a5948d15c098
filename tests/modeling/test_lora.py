import peft
import pytest
import torch
from peft import get_peft_model

from medcritical.config.schema import LoraConfig
from medcritical.errors import ModelError
from medcritical.modeling.checkpoint import load_checkpoint
from medcritical.modeling.lora import add_lora

IDS = torch.tensor([[1, 2, 3, 4]])


def adapter_weights(model):
    return {name: weight for name, weight in model.named_parameters() if "lora_" in name}


def test_fresh_adapters_change_nothing_and_only_they_train(student):
    before = student.model(IDS).logits
    adapted = add_lora(student.model, LoraConfig(2, 4, "all-linear"), seed=0).train()
    assert torch.equal(adapted(input_ids=IDS).logits, before)
    assert {name for name, weight in adapted.named_parameters() if weight.requires_grad} == set(
        adapter_weights(adapted)
    )
    # rank * (in + out) over q, k, v, o and gate, up, down, in each of 2 layers
    assert sum(weight.numel() for weight in adapter_weights(adapted).values()) == 2 * 2 * (4 * 32 + 3 * 40)


def test_adapters_depend_on_the_seed_alone(scratch_folder):
    def first(seed: int) -> torch.Tensor:
        model = load_checkpoint(scratch_folder, dtype=torch.float32).model
        return next(iter(adapter_weights(add_lora(model, LoraConfig(2, 4, "all-linear"), seed=seed)).values())).detach()

    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(first(5), first(5))
    assert not torch.equal(first(5), first(6))
    assert torch.equal(torch.get_rng_state(), state)


def test_targets_that_match_nothing_are_refused(student):
    with pytest.raises(ModelError, match=r"student\.lora\.targets 'no_such_module' does not fit"):
        add_lora(student.model, LoraConfig(2, 4, "no_such_module"), seed=0)


def test_adapters_that_do_not_begin_at_zero_are_refused(student, monkeypatch):
    def adapt(model, config):
        config.init_lora_weights = False  # peft's way to random numbers in B as well
        return get_peft_model(model, config)

    monkeypatch.setattr(peft, "get_peft_model", adapt)
    with pytest.raises(ModelError, match=r"peft .* does not begin adapters at zero.*constraints\.txt"):
        add_lora(student.model, LoraConfig(2, 4, "all-linear"), seed=0)
