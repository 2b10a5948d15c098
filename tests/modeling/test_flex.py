"""FlexAttention, the attention of a packed row on a GPU: its mask, its cache, and its compiled forward pass on a CPU."""

import shutil
from collections.abc import Iterator

import pytest
import torch
from packed_rows import assert_close, build, packed_and_plain, sequences, with_adapters
from torch import nn
from torch.nn.attention import flex_attention as flex_module
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from medcritical.batching import Question, pack_row
from medcritical.modeling import packed_attention as module
from medcritical.modeling.block_attention import block_attention
from medcritical.modeling.packed import base_model, packed, response_logps
from medcritical.modeling.packed_attention import dense_mask, flex_attention_of_row, flex_mask, packed_attention


def test_the_gpu_mask_is_the_dense_one() -> None:
    row, _ = pack_row(sequences())
    position = torch.arange(row.input_ids_1T.shape[1])
    sees = flex_mask(row.questions, "cpu")
    assert torch.equal(sees(0, 0, position[:, None], position[None, :]), dense_mask(row.questions))
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, len(position), 16) for heads in (4, 2, 2))
    block_mask = create_block_mask(sees, None, None, len(position), len(position), device="cpu")
    theirs = flex_attention(query, key, value, block_mask=block_mask, enable_gqa=True)
    ours, _ = packed_attention(nn.Module(), query, key, value, None, questions=row.questions)
    torch.testing.assert_close(ours.transpose(1, 2), theirs)


@pytest.fixture
def _eager_flex_with_gradients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a CPU FlexAttention has gradients where it is not compiled, if it is not asked for its device first."""
    monkeypatch.setattr(flex_module, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(module, "block_attention", flex_attention_of_row)
    with torch.compiler.set_stance("force_eager"):
        yield
    module._block_mask.cache_clear()


@pytest.mark.usefixtures("_eager_flex_with_gradients")
@pytest.mark.parametrize("checkpoints", [False, True])
def test_the_gpu_path_trains_on_a_row_that_was_scored_in_inference_mode(checkpoints: bool) -> None:
    """As a reference pass does by Lightning's predict, whose mask is still there for the first step."""
    model = with_adapters(build("qwen2"))
    if checkpoints:
        base_model(model).activation_checkpointing_enable({"use_reentrant": False})
    row, found = pack_row(sequences())
    with packed(model), torch.inference_mode():
        scored = response_logps(model.eval(), row)[0][found]
    misses = module._block_mask.cache_info().misses
    _, plain, _, _ = packed_and_plain(model)
    torch.testing.assert_close(scored.clone(), plain.detach(), rtol=0, atol=1e-10)
    assert module._block_mask.cache_info().misses == misses, "the row was not the cached one"
    assert_close(model.train(), logp=1e-10, gradient=1e-9)


def test_blocks_of_a_row_scored_in_inference_mode_are_trained_on() -> None:
    model = build("llama")
    row, _ = pack_row(sequences())
    with packed(model), torch.inference_mode():
        response_logps(model, row)
    assert_close(model.train(), logp=1e-10, gradient=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_compiled_gpu_path_is_right_at_any_length() -> None:
    """The forward pass alone: a CPU has no compiled gradients. Few variants are compiled, however many lengths there are."""
    torch.manual_seed(0)
    torch._dynamo.utils.counters.clear()
    for length in (20, 97, 98, 225, 226, 227, 300, 353, 480, 600, 30):
        questions = (Question(0, 9, (6, 7)), Question(22, 9, (length,)))
        num_tokens = 31 + length
        for is_inference in (False, True):
            with torch.inference_mode(is_inference), torch.no_grad():
                # Grouped as in Qwen2.5: 7 queries to a key.
                query, key, value = (torch.randn(1, heads, num_tokens, 64) for heads in (14, 2, 2))
                compiled = flex_attention_of_row(query, key, value, questions, None)
                expected = block_attention(query, key, value, questions, None)
            torch.testing.assert_close(compiled, expected)
        mask = module._block_mask(questions, num_tokens, torch.device("cpu"))
        dense = create_block_mask(flex_mask(questions, "cpu"), None, None, num_tokens, num_tokens, device="cpu")
        assert torch.equal(mask.to_dense(), dense.to_dense())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 8
    assert not torch._dynamo.utils.counters["graph_break"]
