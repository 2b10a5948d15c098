"""Device and precision."""

import pytest
import torch

from medcritical.config.schema import Precision
from medcritical.errors import ConfigError
from medcritical.training.device import CPU_BFLOAT16_PARAMETERS, choose_accelerator, choose_precision

LARGE = CPU_BFLOAT16_PARAMETERS


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, cpu_bfloat16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu_bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True, cpu_bfloat16=False)
    assert (choose_accelerator("auto"), choose_accelerator("cpu")) == ("gpu", "cpu")
    pretend(monkeypatch, cuda=False, cpu_bfloat16=False)
    assert choose_accelerator("auto") == "cpu"


def test_a_missing_gpu_and_an_unknown_name_are_config_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, cpu_bfloat16=False)
    with pytest.raises(ConfigError, match="sees no CUDA GPU"):
        choose_accelerator("gpu")
    with pytest.raises(ConfigError, match="use auto, cpu or gpu"):
        choose_accelerator("tpu")


def test_auto_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, cpu_bfloat16=False)
    assert choose_precision(Precision.auto, "cpu", LARGE) == "32-true"
    pretend(monkeypatch, cuda=True, cpu_bfloat16=True)
    assert choose_precision(Precision.auto, "gpu", 1) == "bf16-mixed"
    assert choose_precision(Precision.auto, "cpu", LARGE) == "bf16-mixed"
    # The demo's student must not depend on the kind of CPU.
    assert choose_precision(Precision.auto, "cpu", LARGE - 1) == "32-true"


def test_a_named_precision_is_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pretend(monkeypatch, cuda=True, cpu_bfloat16=True)
    with caplog.at_level("INFO"):
        assert choose_precision(Precision.float32, "gpu", LARGE) == "32-true"
        assert choose_precision(Precision.bfloat16, "cpu", 1) == "bf16-mixed"
    assert "precision bf16-mixed on cpu" in caplog.text
