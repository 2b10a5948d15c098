import pytest
import torch

from medcritical.config.schema import Precision
from medcritical.errors import ModelError
from medcritical.modeling.device import resolve_device, resolve_dtype


def test_auto_takes_what_there_is():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_unknown_or_absent_accelerator_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="must be auto, cpu or gpu"):
        resolve_device("tpu")
    with pytest.raises(ModelError, match="torch sees no GPU"):
        resolve_device("gpu")


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
