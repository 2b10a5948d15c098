import platform
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from packed_rows import build, gradients, sequences, with_adapters

from medcritical.batching import pack_row
from medcritical.config.choices import Accelerator, Precision
from medcritical.errors import ConfigError
from medcritical.modeling.device import device_name, narrow_frozen, resolve_device, resolve_dtype
from medcritical.modeling.fused import fused
from medcritical.modeling.packed import packed, response_logps


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    for has_gpu, auto in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert resolve_device(Accelerator.auto).type == auto
        assert resolve_device(Accelerator.cpu).type == "cpu"


def test_missing_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no CUDA GPU"):
        resolve_device(Accelerator.gpu)


def test_a_device_is_named_by_its_model(monkeypatch, tmp_path: Path):
    cpu, cpuinfo = torch.device("cpu"), tmp_path / "cpuinfo"
    assert device_name(cpu, cpuinfo) == platform.machine()  # nothing to read, as on macOS
    cpuinfo.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9R14\nprocessor\t: 1\nmodel name\t: other\n")
    assert device_name(cpu, cpuinfo) == "AMD EPYC 9R14"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert device_name(torch.device("cuda"), cpuinfo) == "NVIDIA H200"


@pytest.mark.parametrize("precision", list(Precision))
def test_cpu_weights_are_float32(precision):
    assert resolve_dtype(precision, torch.device("cpu")) is torch.float32


@pytest.mark.parametrize(
    ("precision", "has_bfloat16", "expected"),
    [
        (Precision.auto, True, torch.bfloat16),
        (Precision.auto, False, torch.float32),
        (Precision.float32, True, torch.float32),
        (Precision.bfloat16, False, torch.bfloat16),
    ],
)
def test_gpu_weights_follow_precision(monkeypatch, precision, has_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert resolve_dtype(precision, torch.device("cuda")) is expected


@pytest.mark.parametrize("is_fused", [False, True])
@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_frozen_weights_are_narrowed_to_what_autocast_makes_of_them(kind, is_tied, is_fused):
    model = with_adapters(build(kind, keeps_norms=True, tie_word_embeddings=is_tied)).float()
    row, _ = pack_row(sequences())

    def passes():
        with packed(model), torch.autocast("cpu", torch.bfloat16):
            logps = response_logps(model, row)[0]
        (logps * torch.arange(len(logps))).sum().backward()
        return logps.detach(), gradients(model)

    with fused(model) if is_fused else nullcontext():
        logps, before = passes()
        number = narrow_frozen(model)
        narrow_logps, after = passes()
    base = model.get_base_model()
    layers = sum(p.numel() for n, p in base.model.layers.named_parameters() if "lora" not in n and "norm" not in n)
    assert number == layers + (0 if is_tied else base.lm_head.weight.numel())
    assert base.model.embed_tokens.weight.dtype == torch.float32
    assert base.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert torch.equal(narrow_logps, logps)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], gradient) for name, gradient in before.items())


def test_nothing_that_is_trained_is_narrowed():
    model = build("llama").float()
    assert narrow_frozen(model) == 0
    assert {p.dtype for p in model.parameters()} == {torch.float32}
