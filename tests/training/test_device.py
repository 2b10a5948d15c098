"""Precision by device and size."""

import pytest
import torch

from medcritical.config.choices import Precision
from medcritical.training.device import CPU_BFLOAT16_PARAMETERS, choose_precision

LARGE = CPU_BFLOAT16_PARAMETERS
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, cpu_bfloat16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu_bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


def test_auto_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, cpu_bfloat16=False)
    assert choose_precision(Precision.auto, CPU, LARGE) == "32-true"
    pretend(monkeypatch, cuda=True, cpu_bfloat16=True)
    assert choose_precision(Precision.auto, GPU, 1) == "bf16-mixed"
    assert choose_precision(Precision.auto, CPU, LARGE) == "bf16-mixed"
    # The demo's student must not depend on the kind of CPU.
    assert choose_precision(Precision.auto, CPU, LARGE - 1) == "32-true"


def test_a_named_precision_is_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pretend(monkeypatch, cuda=True, cpu_bfloat16=True)
    with caplog.at_level("INFO"):
        assert choose_precision(Precision.float32, GPU, LARGE) == "32-true"
        assert choose_precision(Precision.bfloat16, CPU, 1) == "bf16-mixed"
    assert "precision bf16-mixed on cpu" in caplog.text
