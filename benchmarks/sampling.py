"""Our engine against `generate` of transformers, on the clinic's student: the same prompts, batches and sampling.

python benchmarks/sampling.py [--turns N]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from clinic import Clinic, open_clinic, teach
from measure import Case, compare, read_arguments, record
from medcritical.generation.embedded import TransformersEngine
from medcritical.generation.engine import Sampling
from medcritical.modeling.checkpoint import Student
from medcritical.modeling.prompts import encode_prompt
from medcritical.records import Prompt

STUDENT_STEPS = 150
ATTEMPTS = 4


def main() -> None:
    """Measure greedy scoring and sampled attempts."""
    turns = read_arguments(__doc__)
    clinic = open_clinic()
    teach(clinic, STUDENT_STEPS)
    generation, prompts = clinic.config.generation, clinic.prompts()
    sampled = Sampling(
        temperature=generation.temperature,
        top_p=generation.top_p,
        max_new_tokens=generation.max_new_tokens,
        batch_tokens=generation.batch_tokens,
    )
    greedy = Sampling(temperature=0, top_p=1, max_new_tokens=sampled.max_new_tokens, batch_tokens=sampled.batch_tokens)
    cases = [
        _case(f"greedy answers to {len(prompts)} questions", clinic, prompts, greedy, 1, turns),
        _case(
            f"{ATTEMPTS} attempts at {len(prompts) // ATTEMPTS} questions",
            clinic,
            prompts[: len(prompts) // ATTEMPTS],
            sampled,
            ATTEMPTS,
            turns,
        ),
    ]
    record(cases)


def _case(name: str, clinic: Clinic, prompts: Sequence[Prompt], sampling: Sampling, samples: int, turns: int) -> Case:
    student = clinic.student
    engine = TransformersEngine(student)

    def ours(turn: int) -> Callable[[], int]:
        def work() -> int:
            answers = engine.generate(prompts, sampling, samples=samples, seed=turn)
            return sum(one.completion_tokens for several in answers for one in several)

        return work

    def theirs(turn: int) -> Callable[[], int]:
        torch.manual_seed(turn)
        return lambda: sum(number for _, number in generate_with_transformers(student, prompts, sampling, samples))

    answers = [one for several in engine.generate(prompts, sampling, samples=samples, seed=0) for one in several]
    ended = sum(one.is_finished for one in answers) / len(answers)
    mean = sum(one.completion_tokens for one in answers) / len(answers)
    note = f"{mean:.1f} tokens a response, {ended:.0%} ended before the limit of {sampling.max_new_tokens}"
    others = generate_with_transformers(student, prompts, sampling, samples)
    if sampling.temperature == 0:
        equal = sum(one.text == text for one, (text, _) in zip(answers, others, strict=True))
        note += f", {equal} of {len(answers)} texts equal to the peer's"
    return compare(name, "transformers generate", ours, theirs, turns=turns, note=note)


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
