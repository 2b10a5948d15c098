"""Our engine against `generate` of transformers: the same prompts, batches and sampling.

python benchmarks/sampling.py [--turns N] [--only CASE ...]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from clinic import Clinic, open_clinic, teach
from command import run_contests
from measure import NOTHING_PROMISED, Contest, Target
from medcritical.config.schema import GenerationConfig
from medcritical.generation.embedded import TransformersEngine
from medcritical.generation.engine import Sampling
from medcritical.modeling.checkpoint import Student
from medcritical.modeling.prompts import encode_prompt
from medcritical.records import Prompt
from workload import load_prompts, load_smollm2, smollm2_config

STUDENT_STEPS = 150
ATTEMPTS = 4
QUESTIONS, NEW_TOKENS = 8, 96  # of the pretrained student


def main() -> None:
    """Measure attempts of a pretrained student, greedy scoring and attempts of the tiny one."""
    clinic = cache(_taught_clinic)
    contests = {
        "attempts": _pretrained_contest,
        "clinic_greedy": lambda: _greedy_contest(clinic()),
        "clinic_attempts": lambda: _attempts_contest(clinic()),
    }
    run_contests(__file__, __doc__ or "", contests)


def _taught_clinic() -> Clinic:
    clinic = open_clinic()
    teach(clinic, STUDENT_STEPS)
    return clinic


def _pretrained_contest() -> Contest:
    config = smollm2_config()
    student = load_smollm2(config)
    sampling = _sampling(replace(config.generation, max_new_tokens=NEW_TOKENS))
    name = f"{ATTEMPTS} attempts at {QUESTIONS} questions, up to {NEW_TOKENS} tokens"
    return _contest(name, student, load_prompts()[:QUESTIONS], sampling, ATTEMPTS, Target(ratio=1.4))


def _greedy_contest(clinic: Clinic) -> Contest:
    prompts, sampling = clinic.prompts(), _sampling(replace(clinic.config.generation, temperature=0, top_p=1))
    return _contest(f"tiny student: greedy answers to {len(prompts)} questions", clinic.student, prompts, sampling, 1)


def _attempts_contest(clinic: Clinic) -> Contest:
    prompts = clinic.prompts()[: len(clinic.test) // ATTEMPTS]
    name = f"tiny student: {ATTEMPTS} attempts at {len(prompts)} questions"
    return _contest(name, clinic.student, prompts, _sampling(clinic.config.generation), ATTEMPTS)


def _sampling(generation: GenerationConfig) -> Sampling:
    return Sampling(
        temperature=generation.temperature,
        top_p=generation.top_p,
        max_new_tokens=generation.max_new_tokens,
        batch_tokens=generation.batch_tokens,
    )


def _contest(
    name: str,
    student: Student,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    samples: int,
    target: Target = NOTHING_PROMISED,
) -> Contest:
    engine, seeds = TransformersEngine(student), itertools.count()

    def ours() -> int:
        answers = engine.generate(prompts, sampling, samples=samples, seed=next(seeds))
        return sum(one.completion_tokens for several in answers for one in several)

    def theirs() -> int:
        torch.manual_seed(next(seeds))
        return sum(number for _, number in generate_with_transformers(student, prompts, sampling, samples))

    def note() -> str:
        answers = [one for several in engine.generate(prompts, sampling, samples=samples, seed=0) for one in several]
        ended = sum(one.is_finished for one in answers) / len(answers)
        mean = sum(one.completion_tokens for one in answers) / len(answers)
        said = f"{mean:.1f} tokens a response, {ended:.0%} ended before the limit of {sampling.max_new_tokens}"
        if sampling.temperature > 0:
            return said
        others = generate_with_transformers(student, prompts, sampling, samples)
        equal = sum(one.text == text for one, (text, _) in zip(answers, others, strict=True))
        return f"{said}, {equal} of {len(answers)} texts equal to the peer's"

    return Contest(name, "transformers generate", lambda: ours, lambda: theirs, target, note)


@torch.inference_mode()
def generate_with_transformers(
    student: Student, prompts: Sequence[Prompt], sampling: Sampling, samples: int
) -> list[tuple[str, int]]:
    """Text and number of tokens (end included) of each response, as someone who knows `generate` would get them.

    Prompts are sorted by length and as many responses decoded together as our engine does; samples of one prompt are
    left to `num_return_sequences`.
    """
    encoded = [encode_prompt(student.tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda index: -len(encoded[index]))
    longest = max(map(len, encoded)) + sampling.max_new_tokens
    size = max(1, sampling.batch_tokens // longest // samples)
    choice = (
        {"do_sample": False}
        if sampling.temperature == 0
        else {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    )
    responses: dict[int, list[tuple[str, int]]] = {}
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        ids_BT, is_token_BT = _pad_left([encoded[index] for index in batch], student.tokenizer.pad_token_id)
        written = student.model.generate(
            input_ids=ids_BT,
            attention_mask=is_token_BT,
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=samples,
            **choice,
        )[:, ids_BT.shape[1] :]
        texts = student.tokenizer.batch_decode(written, skip_special_tokens=True)
        lengths = [_length(row, student.tokenizer.eos_token_id) for row in written.tolist()]
        both = list(zip(texts, lengths, strict=True))
        for place, index in enumerate(batch):
            responses[index] = both[place * samples : (place + 1) * samples]
    return [response for index in range(len(prompts)) for response in responses[index]]


def _pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, both of shape (B, T)."""
    width = max(map(len, rows))
    ids = [[pad_id] * (width - len(row)) + list(row) for row in rows]
    is_token = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(is_token)


def _length(row: Sequence[int], stop_id: int) -> int:
    return row.index(stop_id) + 1 if stop_id in row else len(row)


if __name__ == "__main__":
    main()
