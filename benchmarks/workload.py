"""The work that ours and TRL are given: SmolLM2-135M and preference pairs made from HuatuoGPT-o1 traces.

A pair's prompt is a question with its options; chosen is the beginning of the question's own chain of thought with the
right answer, rejected that of another question with a wrong one. Lengths are those of a student's attempts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

import torch
from transformers import PreTrainedTokenizerBase

from medcritical.batching import Example
from medcritical.batching.rows import packed_tokens
from medcritical.cli.compose import check_overrides
from medcritical.config.choices import DataFormat, OnError
from medcritical.config.schema import Config
from medcritical.data.traces import Trace, load_traces
from medcritical.modeling.checkpoint import Student, load_checkpoint
from medcritical.modeling.prompts import encode_prompt, encode_response
from medcritical.modeling.student import create_student
from medcritical.records import Prompt, Question
from results import REPOSITORY

CACHE = REPOSITORY / "outputs" / "benchmarks"
TRACES = Path("huatuo_o1") / "demo_data.json"
CHOSEN_TOKENS, REJECTED_TOKENS = (120, 220), (100, 240)
"""Tokens of a chain that are kept, between these bounds: as many as a student of this size is trained to write."""


class Unavailable(Exception):
    """A case cannot be measured here; the message says why and what to do. Other cases go on."""


@dataclass(frozen=True)
class Group:
    """The ids of a question's prompt, of a chosen response, and of one or several rejected ones.

    A question with several chosen responses is as many groups.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[list[int]]

    @property
    def num_tokens(self) -> int:
        """Tokens of its pairs as they stand: the prompt twice and both responses in each."""
        return sum(2 * len(self.prompt_ids) + len(self.chosen_ids) + len(one) for one in self.rejected_ids)


def find_traces() -> Path:
    """The file of HuatuoGPT-o1's published examples. Raises Unavailable where it is not."""
    folder = Path(os.environ.get("MEDCRITICAL_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    path = folder / TRACES
    if not path.is_file():
        raise Unavailable(
            f"there is no {path}: set MEDCRITICAL_SHARED_DATA to a folder that holds HuatuoGPT-o1's demo_data.json as "
            f"{TRACES}"
        )
    return path


def smollm2_config() -> Config:
    """The program's own configuration of the pretrained student, on this CPU."""
    (config,) = check_overrides(
        [
            *("student=smollm2_135m", "sft=pretrained", "dpo=pretrained", "trainer=pretrained", "generation=chat"),
            *("trainer.accelerator=cpu", "trainer.precision=float32", "trainer.threads=1"),
        ]
    )
    return config


def smollm2_folder(config: Config) -> Path:
    """The checkpoint of SmolLM2-135M, converted from its package on first use (20 seconds) and kept in `CACHE`."""
    folder = CACHE / "smollm2_135m"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as unfinished:
            create_student(config.student, None, Path(unfinished) / "made", seed=0)
            shutil.move(Path(unfinished) / "made", folder)
    return folder


def load_smollm2(config: Config) -> Student:
    """A fresh copy, float32."""
    return load_checkpoint(smollm2_folder(config), dtype=torch.float32)


def load_groups(tokenizer: PreTrainedTokenizerBase, *, rejected: int, seed: int = 0) -> list[Group]:
    """Every question of the traces with `rejected` wrong responses, in random order. Raises Unavailable without data."""
    traces, rng = _read_traces(), Random(seed)
    groups = [_make_group(tokenizer, trace, traces, rejected, rng) for trace in traces]
    rng.shuffle(groups)
    return groups


def load_prompts(*, seed: int = 0) -> list[Prompt]:
    """The questions of the traces, in random order. Raises Unavailable without data."""
    prompts = [_prompt(trace.question) for trace in _read_traces()]
    Random(seed).shuffle(prompts)
    return prompts


def _read_traces() -> list[Trace]:
    return load_traces(
        find_traces(),
        DataFormat.huatuo_json,
        "complex_cot",
        encoding="utf-8",
        language="en",
        source="huatuo_o1",
        on_error=OnError.fail,
    ).traces


def _prompt(question: Question) -> Prompt:
    options = "\n".join(f"{letter}. {text}" for letter, text in question.options.items())
    return Prompt(system="", user=f"{question.stem}\n{options}")


def _make_group(
    tokenizer: PreTrainedTokenizerBase, trace: Trace, traces: Sequence[Trace], rejected: int, rng: Random
) -> Group:
    question = trace.question
    others = rng.sample([other for other in traces if other is not trace], rejected)
    wrong = [letter for letter in question.options if letter != question.answer]

    def respond(chain: str, bounds: tuple[int, int], letter: str) -> list[int]:
        ids = encode_response(tokenizer, chain, is_finished=False)[: rng.randint(*bounds)]
        answer = f"\n\nThe answer is {letter}. {question.options[letter]}."
        return ids + encode_response(tokenizer, answer, is_finished=True)

    return Group(
        prompt_ids=encode_prompt(tokenizer, _prompt(question)),
        chosen_ids=respond(trace.chain[0], CHOSEN_TOKENS, question.answer),
        rejected_ids=[respond(other.chain[0], REJECTED_TOKENS, rng.choice(wrong)) for other in others],
    )


def chosen_examples(groups: Sequence[Group]) -> list[Example]:
    """The chosen response of each question, for supervised fine-tuning."""
    return [Example(group.prompt_ids, group.chosen_ids) for group in groups]


def representative(groups: Sequence[Group], number: int) -> list[Group]:
    """Of every `number` questions in a row, those whose lengths and padding are nearest to those of all questions."""
    starts = range(0, len(groups) - number + 1, number)
    return nearest([list(groups[start : start + number]) for start in starts], groups)


def nearest(windows: Sequence[list[Group]], groups: Sequence[Group]) -> list[Group]:
    """The window whose lengths and padding are nearest to those of all `groups`."""
    whole = _lengths(groups)

    def distance(window: Sequence[Group]) -> float:
        return sum(abs(ours / all_of_them - 1) for ours, all_of_them in zip(_lengths(window), whole, strict=True))

    return min(windows, key=distance)


def describe_lengths(groups: Sequence[Group]) -> str:
    """How long the pairs are and what there is to save: prompts read once, and padding of pair by pair."""
    prompt, chosen, rejected, padded, shared = _lengths(groups)
    num_pairs = sum(len(group.rejected_ids) for group in groups)
    return (
        f"{num_pairs} pairs, on average {prompt:.0f} tokens of prompt, {chosen:.0f} of chosen, {rejected:.0f} of "
        f"rejected; pair by pair {padded:.2f} tokens are computed for one that is no padding, with each sequence of a "
        f"question once {shared:.2f}"
    )


def _lengths(groups: Sequence[Group]) -> tuple[float, float, float, float, float]:
    """Means over pairs of prompt, chosen and rejected; tokens when padded pair by pair and when shared, per real one."""
    pairs = [(len(group.prompt_ids), len(group.chosen_ids), len(bad)) for group in groups for bad in group.rejected_ids]
    prompt, chosen, rejected = (fmean(column) for column in zip(*pairs, strict=True))
    real = sum(group.num_tokens for group in groups)
    padded = sum(2 * (p + max(c, bad)) for p, c, bad in pairs)
    shared = packed_tokens((g.prompt_ids, response) for g in groups for response in (g.chosen_ids, *g.rejected_ids))
    return prompt, chosen, rejected, padded / real, shared / real
