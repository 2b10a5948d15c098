import pytest
import torch

from medcritical.config.choices import Accelerator, Precision
from medcritical.errors import ConfigError
from medcritical.modeling.device import resolve_device, resolve_dtype


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    for has_gpu, auto in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert resolve_device(Accelerator.auto).type == auto
        assert resolve_device(Accelerator.cpu).type == "cpu"


def test_missing_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no CUDA GPU"):
        resolve_device(Accelerator.gpu)


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
