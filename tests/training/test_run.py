"""Trainings of a few steps: what they compute, what stops them, what they report. Float64 throughout."""

import copy
import dataclasses
import json
import logging
import math
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from losses import FAMILY
from medcritical.batching import Example, PairExample, step_batches
from medcritical.batching.examples import prompt_key
from medcritical.config.choices import Batching
from medcritical.errors import TrainingError
from medcritical.training import TrainingResult, score_responses, train_dpo, train_sft
from medcritical.training.modules import disable_dropout

PAD = 0
Make = Callable[..., Any]


def silent(done: int, total: int, metrics: Any) -> None:
    """Shows nothing."""


def sft(
    model: nn.Module, examples: list[Example], optim: Any, trainer: Any, path: Path, **changes: Any
) -> TrainingResult:
    values: dict[str, Any] = {"steps": 3, "seed": 1, "metrics_path": path / "m.jsonl", "on_progress": silent}
    return train_sft(model, PAD, examples, optim, trainer, **{**values, **changes})


def dpo(
    model: nn.Module, pairs: list[PairExample], optim: Any, trainer: Any, path: Path, **changes: Any
) -> TrainingResult:
    values: dict[str, Any] = {
        "beta": 0.2,
        "nll_weight": 0.7,
        "loss": FAMILY["sigmoid"],
        "contrast": True,
        "starts_at_reference": True,
        "steps": 3,
        "seed": 1,
        "metrics_path": path / "m.jsonl",
        "on_progress": silent,
    }
    return train_dpo(model, PAD, pairs, optim, trainer, **{**values, **changes})


def rows_of(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "m.jsonl").read_text(encoding="utf-8").splitlines()]


def logp(model: nn.Module, prompt: Any, response: Any) -> torch.Tensor:
    """Sum of response log-probabilities the plain way: one row, one softmax, no padding."""
    ids = torch.tensor([[*prompt, *response]])
    logps = torch.log_softmax(model(input_ids=ids).logits[0], -1)
    return sum(
        (logps[len(prompt) + t - 1, token] for t, token in enumerate(response)), torch.zeros((), dtype=torch.float64)
    )


def plain_dpo(model: nn.Module, pairs: list[PairExample], optim: Any, steps: int) -> list[float]:
    """Three steps of the objective as it is written down, an example at a time. Returns the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=optim.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    order = step_batches([prompt_key(pair) for pair in pairs], batch_size=6, steps=steps, seed=1)
    losses = []
    for step in order:
        loss = torch.zeros((), dtype=torch.float64)
        for pair in (pairs[index] for index in step):
            chosen = logp(model, pair.prompt_ids, pair.chosen_ids)
            loss = loss + 0.7 * -chosen / len(pair.chosen_ids)
            if pair.rejected_ids is not None:
                assert pair.reference_rejected_logp is not None
                rejected = logp(model, pair.prompt_ids, pair.rejected_ids) - pair.reference_rejected_logp
                margin = 0.2 * (chosen - pair.reference_chosen_logp - rejected)
                loss = loss + torch.log(1 + torch.exp(-margin))
        loss = loss / 6
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), optim.max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


def assert_same_weights(one: nn.Module, other: nn.Module, tolerance: float) -> None:
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=name)


LAYOUTS = [
    {"batching": Batching.packed, "micro_batch_tokens": 1},
    {"batching": Batching.packed, "micro_batch_tokens": 40},
    {"batching": Batching.packed, "micro_batch_tokens": 500},
    {"batching": Batching.packed, "micro_batch_tokens": 40, "gradient_checkpointing": True},
    {"batching": Batching.padded, "micro_batch_size": 1},
    {"batching": Batching.padded, "micro_batch_size": 4},
    {"batching": Batching.padded, "micro_batch_size": 6, "gradient_checkpointing": True},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dpo_is_the_objective_written_down(
    make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path, layout: dict[str, Any]
) -> None:
    model, plain = make_model(), make_model()
    pairs, optim = make_pairs(model), make_optim()
    dpo(model, pairs, optim, make_trainer(**layout), tmp_path)
    losses = plain_dpo(plain, pairs, optim, steps=3)
    assert [row["train/loss"] for row in rows_of(tmp_path)] == pytest.approx(losses, rel=1e-10)
    assert_same_weights(model, plain, 1e-9)


@pytest.mark.parametrize("is_adapted", [False, True])
def test_ten_steps_of_three_attempts_and_a_correction_are_those_of_padded_rows(
    make_model: Make, make_optim: Make, make_trainer: Make, tmp_path: Path, is_adapted: bool
) -> None:
    torch.manual_seed(3)

    def ids(length: int) -> list[int]:
        return torch.randint(3, 17, (length,)).tolist()

    pairs = []
    for number in range(5):
        prompt, correction = ids(4 + number), ids(6)
        pairs += [PairExample(prompt, correction, ids(3 + attempt), -9.0, -8.0) for attempt in range(3)]
    models, losses = [], []
    for layout in LAYOUTS[1:]:
        torch.manual_seed(4)
        model = make_model()
        if is_adapted:
            model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")).double()
        dpo(model, pairs, make_optim(), make_trainer(**layout), tmp_path, steps=10, starts_at_reference=False)
        models.append(model)
        losses.append([row["train/loss"] for row in rows_of(tmp_path)])
    assert len(losses[0]) == 10
    for model, loss in zip(models[1:], losses[1:], strict=True):
        assert loss == pytest.approx(losses[0], rel=1e-9)
        assert_same_weights(model, models[0], 1e-8)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_the_layout_changes_nothing_in_sft(
    make_model: Make,
    examples: list[Example],
    make_optim: Make,
    make_trainer: Make,
    tmp_path: Path,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    models, rows = [], []
    for layout in LAYOUTS:
        model = make_model().to(dtype)
        sft(model, examples, make_optim(), make_trainer(**layout), tmp_path)
        models.append(model)
        rows.append([{name: value for name, value in row.items() if name != "seconds"} for row in rows_of(tmp_path)])
    for model, metrics in zip(models[1:], rows[1:], strict=True):
        assert_same_weights(model, models[0], tolerance)
        for one, other in zip(metrics, rows[0], strict=True):
            assert one == pytest.approx(other, rel=1e-4 if dtype == torch.float32 else 1e-9)


def test_sft_loss_is_the_mean_over_response_tokens(
    make_model: Make, examples: list[Example], make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model = make_model()
    logps = [logp(model, e.prompt_ids, e.response_ids).item() for e in examples]
    num_tokens = sum(len(e.response_ids) for e in examples)
    result = sft(model, examples, make_optim(batch_size=10), make_trainer(micro_batch_size=3), tmp_path, steps=1)
    assert result.metrics["train/loss"] == pytest.approx(-sum(logps) / num_tokens, rel=1e-12)
    per_sequence = [-total / len(e.response_ids) for total, e in zip(logps, examples, strict=True)]
    assert result.metrics["train/nll"] == pytest.approx(sum(per_sequence) / 10, rel=1e-12)
    assert result.trained_tokens == sum(e.length for e in examples)


def test_scores_are_in_the_order_given(make_model: Make, examples: list[Example], make_trainer: Make) -> None:
    model, seen = make_model(), []
    padded = make_trainer(batching=Batching.padded, micro_batch_size=4)
    scores = score_responses(model, PAD, examples, padded, lambda done, total, _: seen.append((done, total)))
    assert score_responses(model, PAD, examples, make_trainer(), silent) == pytest.approx(scores, abs=1e-11)
    assert scores == pytest.approx([logp(model, e.prompt_ids, e.response_ids).item() for e in examples], abs=1e-12)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert score_responses(model, PAD, [], make_trainer(), silent) == []


def test_first_metrics_of_a_policy_at_its_reference(
    make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model = make_model()
    result = dpo(model, make_pairs(model), make_optim(), make_trainer(micro_batch_size=2), tmp_path)
    first, *_, last = rows_of(tmp_path)
    assert first["train/preference_loss"] == pytest.approx(math.log(2), abs=1e-12)
    assert first["train/margin"] == pytest.approx(0, abs=1e-12)
    assert first["train/chosen_log_ratio"] == pytest.approx(0, abs=1e-12)
    assert last["train/margin"] == pytest.approx(last["train/chosen_reward"] - last["train/rejected_reward"])
    assert last["train/margin"] > 0
    assert last["train/reward_accuracy"] > 0.5
    assert last == result.metrics


@pytest.mark.parametrize("name", FAMILY)
def test_every_loss_starts_at_margin_0_and_widens_it(
    name: str, make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model = make_model()
    dpo(model, make_pairs(model), make_optim(), make_trainer(), tmp_path, loss=FAMILY[name])
    first, *_, last = rows_of(tmp_path)
    start = {"ipo": 1 / (4 * 0.2**2), "hinge": 1.0}.get(name, math.log(2))
    assert first["train/preference_loss"] == pytest.approx(start, abs=1e-12)
    assert first["train/margin"] == pytest.approx(0, abs=1e-12)
    assert last["train/margin"] > 0


@pytest.mark.parametrize("name", ["ipo", "hinge"])
def test_a_wrong_reference_is_found_out_whatever_the_loss(
    name: str, make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    pairs = make_pairs(make_model(1))
    with pytest.raises(TrainingError, match="reference log-probabilities come from another checkpoint"):
        dpo(make_model(0), pairs, make_optim(), make_trainer(), tmp_path, loss=FAMILY[name])


def test_a_wrong_reference_stops_before_any_weight_changes(
    make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model, untouched = make_model(0), make_model(0)
    pairs = make_pairs(make_model(1))
    with pytest.raises(TrainingError, match="reference log-probabilities come from another checkpoint"):
        dpo(model, pairs, make_optim(), make_trainer(micro_batch_size=2), tmp_path)
    assert_same_weights(model, untouched, 0)
    assert dpo(model, pairs, make_optim(), make_trainer(), tmp_path, starts_at_reference=False).steps == 3


def test_dropout_is_off_in_preference_training(
    make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model = get_peft_model(
        make_model(attention_dropout=0.5), LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.5)
    ).double()
    dpo(model, make_pairs(model), make_optim(), make_trainer(), tmp_path)
    assert rows_of(tmp_path)[0]["train/preference_loss"] == pytest.approx(math.log(2), abs=1e-12)
    assert disable_dropout(model) == 0


def test_without_contrast_rejected_responses_are_not_even_forwarded(
    make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model = make_model()
    pairs = make_pairs(model)
    nll = [-logp(model, p.prompt_ids, p.chosen_ids).item() / len(p.chosen_ids) for p in pairs]
    result = dpo(model, pairs, make_optim(batch_size=10), make_trainer(), tmp_path, steps=1, contrast=False)
    assert result.metrics["train/loss"] == pytest.approx(0.7 * sum(nll) / 10, rel=1e-12)
    assert result.trained_tokens == sum(len(p.prompt_ids) + len(p.chosen_ids) for p in pairs)
    assert "train/preference_loss" not in result.metrics


def test_only_adapters_are_trained(
    make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model = get_peft_model(make_model(), LoraConfig(r=2, target_modules="all-linear")).double()
    before = copy.deepcopy(model.state_dict())
    dpo(model, make_pairs(model), make_optim(), make_trainer(), tmp_path)
    for name, value in model.state_dict().items():
        assert ("lora" in name) != torch.equal(value, before[name]), name


def test_nothing_trainable_and_nothing_to_train_on(
    make_model: Make, examples: list[Example], make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="no trainable parameter"):
        sft(make_model().requires_grad_(False), examples, make_optim(), make_trainer(), tmp_path)
    with pytest.raises(TrainingError, match="nothing to train on"):
        sft(make_model(), [], make_optim(), make_trainer(), tmp_path)


def test_a_loss_that_is_not_finite_stops(
    make_model: Make, examples: list[Example], make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model = make_model()
    with torch.no_grad():
        model.lm_head.weight[3] = math.nan
    with pytest.raises(TrainingError, match="train/loss is nan at optimizer step 1"):
        sft(model, examples, make_optim(), make_trainer(), tmp_path)


def test_alarms_are_in_the_result_and_the_log(
    make_model: Make,
    make_pairs: Make,
    make_optim: Make,
    make_trainer: Make,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = make_model()
    pairs = make_pairs(model, number=2, all_contrasted=True)
    optim = make_optim(batch_size=2, learning_rate=0.1)
    with caplog.at_level(logging.WARNING, logger="medcritical"):
        result = dpo(model, pairs, optim, make_trainer(), tmp_path, steps=60, beta=1.0, nll_weight=0.0)
    assert any("already at step" in alarm for alarm in result.alarms)
    assert [record.getMessage() for record in caplog.records] == list(result.alarms)


def test_rows_are_the_first_every_nth_and_the_last(
    make_model: Make, examples: list[Example], make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    seen: list[tuple[int, int, float]] = []
    result = sft(
        make_model(),
        examples,
        make_optim(),
        make_trainer(log_every_n_steps=3, micro_batch_size=2),
        tmp_path,
        steps=7,
        on_progress=lambda done, total, metrics: seen.append((done, total, metrics["train/loss"])),
    )
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 3, 6, 7]
    assert seen == [(row["step"], 7, row["train/loss"]) for row in rows]
    assert (result.steps, result.metrics, result.trained_tokens) == (7, rows[-1], rows[-1]["tokens"])
    assert result.seconds > 0


def test_learning_rate_and_gradient_norm_are_those_of_the_step(
    make_model: Make, examples: list[Example], make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model, plain = make_model(), make_model()
    sft(model, examples, make_optim(warmup_steps=4, batch_size=10), make_trainer(micro_batch_size=3), tmp_path)
    rows = rows_of(tmp_path)
    assert [row["train/learning_rate"] for row in rows] == pytest.approx([0.0025, 0.005, 0.0075])
    loss = sum((-logp(plain, e.prompt_ids, e.response_ids) for e in examples), torch.zeros((), dtype=torch.float64))
    (loss / sum(len(e.response_ids) for e in examples)).backward()
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in plain.parameters() if p.grad is not None))
    assert rows[0]["train/grad_norm"] == pytest.approx(norm, rel=1e-10)


def test_the_seed_decides_everything_but_seconds(
    make_model: Make, examples: list[Example], make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    histories = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(histories))  # the outer state must not matter, nor change
        outer = torch.get_rng_state()
        model = make_model(attention_dropout=0.2)
        torch.set_rng_state(outer)
        sft(model, examples, make_optim(), make_trainer(batching=Batching.padded), tmp_path, seed=seed)
        assert torch.equal(torch.get_rng_state(), outer)
        histories.append([{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(tmp_path)])
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


def test_nothing_is_printed_and_no_warning_escapes(
    make_model: Make,
    examples: list[Example],
    make_optim: Make,
    make_trainer: Make,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        sft(make_model(), examples, make_optim(), make_trainer(), tmp_path)
        score_responses(make_model(), PAD, examples, make_trainer(), silent)
    assert [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)] == []
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]


def test_an_interrupt_stays_one(
    make_model: Make, examples: list[Example], make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, metrics: Any) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        sft(make_model(), examples, make_optim(), make_trainer(), tmp_path, on_progress=interrupt)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_process_alone_in_a_job_of_slurm_is_no_task_of_it(
    make_model: Make, examples: list[Example], make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would take it for one, and refuse what SLURM says of the job's other tasks."""
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert len(score_responses(make_model(), PAD, examples, make_trainer(), silent)) == len(examples)


def shared_question(reference: nn.Module, trainer: Any) -> list[PairExample]:
    """A question with three pairs that weigh 1 together, one with a pair, and a response that is chosen alone."""
    torch.manual_seed(8)

    def ids(length: int) -> list[int]:
        return torch.randint(3, 17, (length,)).tolist()

    one, other = ids(5), ids(3)
    found = [(one, ids(4), ids(4 + number), 1 / 3) for number in range(3)] + [(other, ids(2), ids(6), 1.0)]
    rows = [Example(prompt, response) for prompt, *responses, _ in found for response in responses]
    logps = iter(score_responses(reference, PAD, rows, trainer, silent))
    pairs = [PairExample(*ids_of, next(logps), next(logps), weight) for *ids_of, weight in found]
    return [*pairs, PairExample(ids(4), ids(5), None, None, None)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_of_a_question_that_share_a_weight_count_as_one(
    layout: dict[str, Any], make_model: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    """At the reference every pair's loss is ln 2: of five examples three weigh 1 / 3, so that the step is divided by 3."""
    model = make_model()
    pairs = shared_question(model, make_trainer())
    nll = [-logp(model, p.prompt_ids, p.chosen_ids).item() / len(p.chosen_ids) for p in pairs]
    result = dpo(model, pairs, make_optim(batch_size=5), make_trainer(**layout), tmp_path, steps=1)
    preference = math.log(2) * (3 * 1 / 3 + 1)
    of_chosen = 0.7 * (sum(nll[:3]) / 3 + nll[3] + nll[4])
    assert result.metrics["train/loss"] == pytest.approx((preference + of_chosen) / 3, rel=1e-12)
    assert result.metrics["train/nll"] == pytest.approx(sum(nll) / 5, rel=1e-12)  # metrics are plain means


def test_ten_weighted_steps_are_the_same_in_every_layout(
    make_model: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    pairs = shared_question(make_model(), make_trainer())
    models, losses = [], []
    for layout in LAYOUTS:
        model = make_model()
        dpo(model, pairs, make_optim(batch_size=4), make_trainer(**layout), tmp_path, steps=10)
        models.append(model)
        losses.append([row["train/loss"] for row in rows_of(tmp_path)])
    for model, loss in zip(models[1:], losses[1:], strict=True):
        assert loss == pytest.approx(losses[0], rel=1e-9)
        assert_same_weights(model, models[0], 1e-8)


def test_one_weight_for_all_is_no_weight(
    make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    """To the last bit where it is 1; of another size it cancels."""
    models = []
    for weight in (None, 1.0, 0.25):
        model = make_model()
        pairs = make_pairs(model)
        weighted = pairs if weight is None else [dataclasses.replace(pair, weight=weight) for pair in pairs]
        dpo(model, weighted, make_optim(), make_trainer(), tmp_path)
        models.append(model)
    assert_same_weights(models[1], models[0], 0)
    assert_same_weights(models[2], models[0], 1e-9)


def test_a_training_of_nothing_says_so(
    make_model: Make, make_pairs: Make, make_optim: Make, make_trainer: Make, tmp_path: Path
) -> None:
    model = make_model()
    for nll_weight, nothing in ((0.0, True), (0.7, False)):
        result = dpo(
            model, make_pairs(model), make_optim(), make_trainer(), tmp_path, contrast=False, nll_weight=nll_weight
        )
        assert any(alarm.startswith("Nothing was learned") for alarm in result.alarms) == nothing
