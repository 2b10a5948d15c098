"""TRL's DPOTrainer as peer: the same loss and the same gradients on the same pairs."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from losses import FAMILY, loss_config
from medcritical.batching import PairExample, collate_pairs, pad_rows
from medcritical.config.choices import Length, Loss
from medcritical.config.schema import LossConfig
from medcritical.training.modules import DpoModule

WORDS = ["<pad>", "<bos>", "<eos>", *(f"w{number}" for number in range(3, 17))]


def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def text(ids: Any) -> str:
    """Words with a space before each, for TRL joins prompt and completion without one."""
    return "".join(f" {WORDS[index]}" for index in ids)


PEERS: dict[str, tuple[dict[str, Any], LossConfig]] = {
    "sigmoid": ({"loss_type": "sigmoid"}, FAMILY["sigmoid"]),
    "hinge": ({"loss_type": "hinge"}, FAMILY["hinge"]),
    "robust": ({"loss_type": "robust", "label_smoothing": 0.1}, FAMILY["robust"]),
    "ipo": ({"loss_type": "ipo"}, loss_config(Loss.ipo, length=Length.mean)),  # TRL's is of means over tokens
    "length-normalised": ({"loss_type": "sigmoid_norm"}, FAMILY["length-normalised"]),
}
"""What each of TRL's losses is called here. TRL has no cDPO for DPO itself, and no DPO-positive."""


@pytest.mark.parametrize("name", PEERS)
def test_loss_and_gradients_equal_trl(
    name: str,
    make_model: Callable[..., Any],
    make_pairs: Callable[..., list[PairExample]],
    make_optim: Callable[..., Any],
    tmp_path: Path,
) -> None:
    datasets = pytest.importorskip("datasets")
    trl = pytest.importorskip("trl")
    reference, policy = make_model(0).float(), make_model(0).float()
    pairs = make_pairs(reference, number=5, all_contrasted=True)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    peer = copy.deepcopy(policy)

    rows = [
        {"prompt": text(p.prompt_ids), "chosen": text(p.chosen_ids), "rejected": text(p.rejected_ids)} for p in pairs
    ]
    arguments = trl.DPOConfig(
        output_dir=str(tmp_path),
        beta=0.3,
        per_device_train_batch_size=5,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        **PEERS[name][0],
    )
    trainer = trl.DPOTrainer(
        model=peer,
        ref_model=reference,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer(),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()

    # The very same tokens: TRL's own rows hold ours, in its shuffled order.
    ids = {
        tuple(row[mask == 1].tolist()) for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    }
    assert ids == {(*p.prompt_ids, *r) for p in pairs for r in (p.chosen_ids, p.rejected_ids or ())}

    module = DpoModule(
        policy, make_optim(), 1, beta=0.3, nll_weight=0.0, loss=PEERS[name][1], starts_at_reference=False
    )
    ours, _ = module.objective(collate_pairs(pairs, layout=partial(pad_rows, pad_id=0), normaliser=5))
    ours.backward()

    start = {"ipo": 1 / (4 * 0.3**2), "hinge": 1.0}.get(name, 0.6931)
    assert abs(ours.item() - start) > 0.01, "the policy must differ from its reference for this test to say anything"
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
    their_gradients = {name: parameter.grad for name, parameter in peer.named_parameters()}
    for name, parameter in policy.named_parameters():
        expected = their_gradients[name]
        assert parameter.grad is not None
        assert expected is not None
        assert (parameter.grad - expected).norm() <= 1e-4 * expected.norm(), name
