"""Packed rows against plain forward passes, one sequence at a time: the same log-probabilities and gradients."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from packed_rows import assert_close, build, gradients, sequences, with_adapters
from peft import LoraConfig, get_peft_model
from torch import nn

from medcritical.batching import Question, pack_row
from medcritical.errors import ConfigError
from medcritical.modeling import block_attention
from medcritical.modeling.block_attention import attention_blocks
from medcritical.modeling.fused import fused
from medcritical.modeling.packed import ARCHITECTURES, base_model, packed, response_logps
from medcritical.modeling.packed_attention import dense_mask


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("is_adapted", [False, True])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_equals_plain_forward_passes(kind: str, is_adapted: bool, checkpoints: bool) -> None:
    model = build(kind)
    if is_adapted:
        model = with_adapters(model)
    if checkpoints:
        base_model(model).activation_checkpointing_enable({"use_reentrant": False})
    assert_close(model.train(), logp=1e-10, gradient=1e-9)
    assert_close(model.float(), logp=2e-4, gradient=2e-4)


@pytest.mark.parametrize("is_adapted", [False, True])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_fused_parts_equal_plain_ones(kind: str, is_adapted: bool) -> None:
    model = build(kind, keeps_norms=True)
    model = with_adapters(model) if is_adapted else model
    classes = [type(module) for module in model.modules()]
    with fused(model):
        names = {type(module).__name__ for module in model.modules()}
        family = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}[kind]
        expected = {f"Fused{family}RMSNorm", f"Fused{family}MLP", *(["FusedLinear"] if is_adapted else [])}
        assert {name for name in names if name.startswith("Fused")} == expected
        with packed(model):
            row, found = pack_row(sequences())
            ours = response_logps(model, row)[0][found]
            (ours * torch.arange(8)).sum().backward()
        our_gradients = gradients(model)
    assert [type(module) for module in model.modules()] == classes
    with packed(model):
        theirs = response_logps(model, row)[0][found]
        (theirs * torch.arange(8)).sum().backward()
    # Their norms round to float32 on the way.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    for name, expected_gradient in gradients(model).items():
        assert (our_gradients[name] - expected_gradient).norm() <= 1e-5 * expected_gradient.norm(), name


@pytest.mark.parametrize("is_adapted", [False, True])
def test_bfloat16_autocast_stays_near_float32_and_sums_in_it(is_adapted: bool) -> None:
    model = build("qwen2", keeps_norms=True, initializer_range=0.1).float()
    model = with_adapters(model).float() if is_adapted else model
    row, _ = pack_row(sequences())
    with packed(model), fused(model):
        exact = response_logps(model, row)[0]
        with torch.autocast("cpu", torch.bfloat16):
            narrow = response_logps(model, row)[0]
        narrow.sum().backward()
    assert narrow.dtype == torch.float32
    assert 0 < (narrow - exact).abs().max() < 0.05 * row.lengths_S.max()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


def test_nothing_is_fused_where_weights_are_sharded() -> None:
    model = build("llama")
    next(model.parameters()).ds_id = 0  # type: ignore[attr-defined]  # DeepSpeed's mark
    with fused(model):
        assert not any(type(module).__name__.startswith("Fused") for module in model.modules())


def test_a_model_is_put_back_as_it_was() -> None:
    model = build("llama")
    before = model(input_ids=torch.arange(5)[None]).logits
    with packed(model):
        assert model.config._attn_implementation == "packed"
    assert model.config._attn_implementation == "sdpa"
    assert type(model.lm_head) is nn.Linear
    assert torch.equal(model(input_ids=torch.arange(5)[None]).logits, before)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("gemma", {"keeps_norms": True}, "its type gemma is none of llama, mistral, qwen2, qwen3"),
        ("mistral", {"sliding_window": 8}, "limited to a sliding window"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
            "limited to a sliding window",
        ),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            r"positions \(dynamic",
        ),
        ("llama", {"attention_dropout": 0.1}, "attention dropout"),
    ],
)
def test_what_packed_rows_would_compute_wrongly_is_refused(kind: str, changes: dict[str, Any], reason: str) -> None:
    model = build(kind, **changes)
    with pytest.raises(ConfigError, match=f"{reason}.*trainer.batching=padded"), packed(model):
        pass


def test_an_adapted_head_is_refused() -> None:
    model = get_peft_model(build("llama"), LoraConfig(r=2, target_modules=["lm_head"], task_type="CAUSAL_LM"))
    with pytest.raises(ConfigError, match="output embedding is a Linear, with an adapter"), packed(model):
        pass


@pytest.mark.parametrize("is_tied", [False, True])
def test_tied_embeddings(is_tied: bool) -> None:
    model = build("llama", tie_word_embeddings=is_tied)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == is_tied
    assert_close(model.train(), logp=1e-10, gradient=1e-9)


def test_attention_blocks_cover_the_mask_and_nothing_else() -> None:
    row, _ = pack_row(sequences())
    mask = dense_mask(row.questions)
    covered = torch.zeros(mask.shape, dtype=torch.int)
    for block in attention_blocks(row.questions):
        size = covered[block.queries, block.keys].shape
        covered[block.queries, block.keys] += torch.ones(size, dtype=torch.int).tril() if block.is_causal else 1
    assert torch.equal(covered, mask.int())


@pytest.mark.parametrize(("small", "most_padding"), [(0, 1.0), (160, 1.0), (9, 1.5), (160, 1e9)])
def test_blocks_alone_and_together_are_the_same(
    small: int, most_padding: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by itself; only equal shapes together; small ones together beside large ones; all of a kind, much padded."""
    monkeypatch.setattr(block_attention, "SMALL", small)
    monkeypatch.setattr(block_attention, "MOST_PADDING", most_padding)
    block_attention.block_groups.cache_clear()
    row, _ = pack_row(sequences())
    groups = {(0, 1.0): 9, (160, 1e9): 3}.get((small, most_padding))
    assert groups is None or len(block_attention.block_groups(row.questions)) == groups
    for is_adapted in (False, True):
        model = build("llama")
        assert_close((with_adapters(model) if is_adapted else model).train(), logp=1e-10, gradient=1e-9)
    block_attention.block_groups.cache_clear()


def test_the_mask_by_hand() -> None:
    #                prompt  a  a  b
    assert dense_mask((Question(0, 1, (2, 1)), Question(4, 1, (1,)))).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 1],
    ]
