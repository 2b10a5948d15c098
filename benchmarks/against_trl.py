"""Preference training and fine-tuning of SmolLM2-135M against TRL, on pairs from HuatuoGPT-o1 traces and from self-play.

python benchmarks/against_trl.py [--turns N] [--only CASE ...]
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agreement import STEPS, largest_difference, loss_curves, shortest
from command import run_contests
from floor import floor_case
from measure import NOTHING_PROMISED, Case, Contest, Target, Work
from medcritical.config.choices import Precision
from medcritical.config.schema import Config
from medcritical.errors import MedCriticalError
from self_play import num_pairs, self_play_groups, typical
from sides import Recipe, our_dpo, our_sft, score_groups
from workload import Group, chosen_examples, describe_lengths, load_groups, load_smollm2, representative, smollm2_config

PAIRS = 2
SFT_EXAMPLES = 8  # TRL's default batch
TOLERANCE = 1e-3  # relative, between two losses
PRECOMPUTED = "TRL, precompute_ref_log_probs"


def main() -> None:
    """Measure every case."""
    cached, bfloat16 = Target(ratio=2.0, memory_ratio=0.5), Precision.bfloat16
    contests = {
        "dpo": lambda: DpoTask(checks_losses=True).contest("DPO LoRA, reference cached", cached, measures_memory=True),
        "epoch": lambda: DpoTask(is_cached=False).contest("DPO LoRA, one epoch with its reference pass", Target(1.75)),
        "self_play": lambda: DpoTask(is_played=True).contest(
            "DPO LoRA, pairs of self-play, reference cached", Target()
        ),
        "self_play_all": lambda: DpoTask(is_played=True, per_question=None).contest(
            "DPO LoRA, all pairs of a question of self-play, reference cached", Target(3.0)
        ),
        "full": lambda: DpoTask(is_full=True).contest("DPO of all weights, reference cached", Target(1.9)),
        "sft": lambda: sft_contest(1, Target(ratio=1.8, memory_ratio=0.35)),
        "dpo_singly": lambda: DpoTask(micro=1).contest("DPO LoRA, reference cached, one pair a pass", Target()),
        "sft_batched": lambda: sft_contest(SFT_EXAMPLES),
        "dpo_bf16": lambda: DpoTask(precision=bfloat16).contest("DPO LoRA, reference cached, bfloat16", Target()),
    }
    run_contests(__file__, __doc__ or "", contests, {"floor": measure_floor})


@dataclass(frozen=True)
class DpoTask:
    """One optimizer step over `questions`; TRL has `micro` pairs in a forward pass.

    Pairs are made from traces, one a question, or with `is_played` come from self-play, at most `per_question` of each.
    """

    questions: int = PAIRS
    is_played: bool = False
    per_question: int | None = 1
    micro: int = PAIRS
    is_cached: bool = True
    is_full: bool = False
    precision: Precision = Precision.float32
    checks_losses: bool = False

    def contest(self, name: str, target: Target, *, measures_memory: bool = False) -> Contest:
        """Ours against TRL. Raises Unavailable without the traces, where pairs are made from them."""
        config = smollm2_config()
        tokenizer = load_smollm2(config).tokenizer
        if self.is_played:
            questions = self_play_groups(tokenizer, self.per_question)
            every, groups = [group for question in questions for group in question], typical(questions, self.questions)
        else:
            every = load_groups(tokenizer, rejected=1)
            groups = representative(every, self.questions)

        def note() -> str:
            lengths = describe_lengths(groups)
            return f"{lengths}; {check_losses(config, every)}" if self.checks_losses else lengths

        return Contest(
            name=name,
            peer=PRECOMPUTED if self.is_cached else "TRL, its reference at every step",
            ours=lambda: self.ours(config, groups),
            theirs=lambda: self.theirs(config, groups),
            target=target,
            note=note,
            measures_memory=measures_memory,
        )

    def recipe(self, config: Config, groups: Sequence[Group]) -> Recipe:
        """What both sides do in one turn."""
        return Recipe(
            lora=None if self.is_full else config.student.lora,
            batch_size=num_pairs(groups),
            steps=1,
            micro=self.micro,
            precision=self.precision,
        )

    def ours(self, config: Config, groups: Sequence[Group]) -> Work:
        """`train_dpo`, after `score_responses` where the reference is not cached."""
        recipe, student = self.recipe(config, groups), load_smollm2(config)
        reference = student if self.is_cached else load_smollm2(config)
        scored = score_groups(config, reference, groups, recipe)  # before the student gets its adapter
        model, pad_id = recipe.model(student), student.tokenizer.pad_token_id

        def work() -> int:
            pairs = scored if self.is_cached else score_groups(config, reference, groups, recipe)
            with tempfile.TemporaryDirectory() as folder:
                our_dpo(config, model, pad_id, pairs, recipe, Path(folder) / "metrics.jsonl")
            return _num_tokens(groups)

        return work

    def theirs(self, config: Config, groups: Sequence[Group]) -> Work:
        """`DPOTrainer.train`."""
        from trl_peer import trl_dpo

        recipe = self.recipe(config, groups)
        trainer = trl_dpo(load_smollm2(config), groups, recipe, precompute_ref_log_probs=self.is_cached)

        def work() -> int:
            trainer.train()
            return _num_tokens(groups)

        return work


def sft_contest(micro: int, target: Target = NOTHING_PROMISED) -> Contest:
    """Fine-tuning on the chosen responses alone; TRL has `micro` examples in a forward pass."""
    config = smollm2_config()
    examples = chosen_examples(representative(load_groups(load_smollm2(config).tokenizer, rejected=1), SFT_EXAMPLES))
    recipe = Recipe(lora=config.student.lora, batch_size=SFT_EXAMPLES, steps=1, micro=micro)
    num_tokens = sum(example.length for example in examples)

    def ours() -> Work:
        student = load_smollm2(config)
        model, pad_id = recipe.model(student), student.tokenizer.pad_token_id

        def work() -> int:
            with tempfile.TemporaryDirectory() as folder:
                our_sft(config, model, pad_id, examples, recipe, Path(folder) / "metrics.jsonl")
            return num_tokens

        return work

    def theirs() -> Work:
        from trl_peer import trl_sft

        trainer = trl_sft(load_smollm2(config), examples, recipe)

        def work() -> int:
            trainer.train()
            return num_tokens

        return work

    return Contest(
        name="SFT LoRA, completion only" + (", batches" if micro > 1 else ""),
        peer=f"TRL, batches of {micro}" if micro > 1 else "TRL, one example a pass, its better setting",
        ours=ours,
        theirs=theirs,
        target=target,
        note=lambda: f"{SFT_EXAMPLES} examples, {num_tokens} tokens",
        measures_memory=True,
    )


def measure_floor(turns: int) -> Case:
    """How near the DPO step with LoRA is to the machine's limit."""
    config, task = smollm2_config(), DpoTask()
    student, lora = load_smollm2(config), config.student.lora
    assert lora is not None
    groups = representative(load_groups(student.tokenizer, rejected=1), task.questions)
    return floor_case(student, groups, lora.rank, task.ours(config, groups), turns=turns)


def check_losses(config: Config, groups: Sequence[Group]) -> str:
    """How far our losses are from TRL's. Raises MedCriticalError when they are not of the same training."""
    difference = largest_difference(*loss_curves(config, shortest(groups)))
    if difference > TOLERANCE:
        raise MedCriticalError(f"the losses of {STEPS} steps differ from TRL's by up to {difference:.1e}: other work")
    return f"the losses of {STEPS} steps are within {difference:.0e} of TRL's"


def _num_tokens(groups: Sequence[Group]) -> int:
    return sum(group.num_tokens for group in groups)


if __name__ == "__main__":
    main()
