"""Pairs as self-play makes them: by the program's own stages, on the clinic, with SmolLM2's tokens for their texts.

A run of the clinic plays a hundred questions with uniform allocation, on first use (a minute or two on one core) and into
`CACHE`; its store keeps the play, so that every number of pairs a question comes from the same attempts and corrections.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

from transformers import PreTrainedTokenizerBase

from medcritical.batching import Example
from medcritical.cli.compose import check_overrides
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.run import execute_run, plan_run, prepare_run
from medcritical.records import PreferencePair
from medcritical.stages.examples import chosen_and_rejected
from medcritical.stages.pair import PAIRS
from medcritical.store import read_records
from workload import CACHE, Group, nearest

PLAY = (
    *("name=self_play", "arm=dpo_self", "selfplay=uniform", "selfplay.iterations=1", "selfplay.questions=100"),
    *("dpo.steps=1", "dpo.warmup_steps=0", "evaluation.base=false", "evaluation.questions=20"),
    *("trainer.accelerator=cpu", "cluster.workers=1"),
    *(f"paths.store={CACHE / 'self_play' / 'store'}", f"paths.outputs={CACHE / 'self_play' / 'outputs'}"),
)


def played_pairs(pairs_per_question: int | None) -> list[PreferencePair]:
    """The contrasts that the stage `pair` makes of the play, in its order."""
    most = "null" if pairs_per_question is None else pairs_per_question
    (config,) = check_overrides([*PLAY, f"selfplay.pairs_per_question={most}"])
    run = plan_run(config)
    if run.missing():
        prepare_run(run, Pace(run.store))
        execute_run(run)
    (paired,) = [call.ref for call in run.plan.calls if call.ref.stage == "pair"]
    return [
        pair for pair in read_records(run.store.folder(paired) / PAIRS, PreferencePair) if pair.rejected is not None
    ]


def self_play_groups(tokenizer: PreTrainedTokenizerBase, pairs_per_question: int | None) -> list[list[Group]]:
    """Questions of the play, each with a group for every distinct response that is preferred there."""
    (config,) = check_overrides(PLAY)
    questions: dict[str, dict[str, tuple[Example, list[Example]]]] = {}
    for pair in played_pairs(pairs_per_question):
        chosen, rejected = chosen_and_rejected(tokenizer, config.template, pair)
        assert rejected is not None  # `played_pairs` has contrasts alone
        questions.setdefault(pair.question.id, {}).setdefault(pair.chosen, (chosen, []))[1].append(rejected)
    return [[_group(chosen, rejected) for chosen, rejected in preferred.values()] for preferred in questions.values()]


def typical(questions: Sequence[list[Group]], number: int) -> list[Group]:
    """Of every `number` questions in a row, with a median number of pairs each, those of the nearest lengths to all.

    Where there are fewer of them, these are all that there is.
    """
    size = median_low(map(num_pairs, questions))
    alike = [question for question in questions if num_pairs(question) == size]
    number = min(number, len(alike))
    windows = [alike[start : start + number] for start in range(0, len(alike) - number + 1, number)]
    return nearest(
        [[group for question in window for group in question] for window in windows],
        [group for question in alike for group in question],
    )


def num_pairs(groups: Sequence[Group]) -> int:
    """Pairs of all of them."""
    return sum(len(group.rejected_ids) for group in groups)


def _group(chosen: Example, rejected: Sequence[Example]) -> Group:
    return Group(
        prompt_ids=list(chosen.prompt_ids),
        chosen_ids=list(chosen.response_ids),
        rejected_ids=[list(example.response_ids) for example in rejected],
    )
