"""The engine inside this process: any Hugging Face causal language model, decoded in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medcritical.errors import GenerationError
from medcritical.generation.decoding import Response, decode
from medcritical.generation.engine import Sampling, Usage, cut_at_stop
from medcritical.generation.sampling import draw_seeds
from medcritical.modeling.checkpoint import Student
from medcritical.modeling.prompts import encode_prompt, encode_response
from medcritical.records import Completion, Prompt


class TransformersEngine:
    """Answers prompts with `student`, on the device its model is on. The model is put into evaluation mode.

    Of a model's own generation config only the stop ids count; penalties and samplers it may name do not.
    """

    def __init__(self, student: Student) -> None:
        self.model = student.model.eval()
        self.tokenizer = student.tokenizer
        self.stop_ids = _find_stop_ids(student)
        self.usage = Usage()

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        on_progress: Callable[[int, int], None] | None = None,
        places: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """Return `samples` completions per prompt; see `ShareEngine`. Token counts include the end of the sequence.

        Every response has random numbers of its own, from `seed` and its place in the (whole) call: up to rounding it is
        the same in any batch. A response is cut at the model's last position even if `max_new_tokens` allows more.

        Raises:
            GenerationError: a prompt leaves no position for a response, or a number of `sampling.only` is no single token.
        """
        places = range(len(prompts)) if places is None else places
        encoded = [tuple(encode_prompt(self.tokenizer, prompt)) for prompt in prompts]
        only_ids = [self._only_token(number) for number in sampling.only]
        most = 1 if only_ids else sampling.max_new_tokens
        budgets = [self._budget(place, len(ids), most) for place, ids in zip(places, encoded, strict=True)]
        total, seeds = len(prompts) * samples, draw_seeds(seed, places, samples)
        responses = [
            Response(encoded[number // samples], budgets[number // samples], seeds[number]) for number in range(total)
        ]
        completions: dict[int, Completion] = {}
        num_done = 0

        def on_ended(num_rows: int) -> None:
            nonlocal num_done
            num_done += num_rows
            if on_progress is not None:
                on_progress(num_done, total)

        for numbers in similar_lengths(responses):
            group = [responses[number] for number in numbers]
            tokens = decode(
                self.model,
                group,
                sampling,
                max_rows=max(1, sampling.batch_tokens // max(response.length for response in group)),
                stop_ids=self.stop_ids,
                only_ids=only_ids,
                on_ended=on_ended,
            )
            for number, ids in zip(numbers, tokens, strict=True):
                completions[number] = self._complete(len(responses[number].prompt), ids, sampling.stop)
        self.usage.prompt_tokens += sum(map(len, encoded))
        self.usage.completion_tokens += sum(completion.completion_tokens for completion in completions.values())
        self.usage.answers += total
        return [[completions[number] for number in range(first, first + samples)] for first in range(0, total, samples)]

    def _budget(self, place: int, num_prompt_tokens: int, max_new_tokens: int) -> int:
        """Return how many tokens a response may have: the limit asked for or what the model's positions leave."""
        positions: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if positions is None:
            return max_new_tokens
        if num_prompt_tokens >= positions:
            raise GenerationError(
                f"prompt {place} has {num_prompt_tokens} tokens, which leaves no room for a response in the student's "
                f"{positions} positions"
            )
        return min(max_new_tokens, positions - num_prompt_tokens)

    def _only_token(self, number: int) -> int:
        """The token that is this number."""
        ids = encode_response(self.tokenizer, str(number), is_finished=False)
        if len(ids) != 1 or self.tokenizer.decode(ids) != str(number):
            raise GenerationError(
                f"{number} is no token of its own in this model, whose answers cannot be limited to it"
            )
        return ids[0]

    def _complete(self, num_prompt_tokens: int, ids: list[int], stop: Sequence[str]) -> Completion:
        is_finished = ids[-1] in self.stop_ids
        text_ids = ids[:-1] if is_finished else ids
        # Nothing is skipped or tidied: a verifier reads this text, and the student may be trained on it.
        text = self.tokenizer.decode(text_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        cut, is_stopped = cut_at_stop(text, stop)
        return Completion(
            text=cut,
            prompt_tokens=num_prompt_tokens,
            completion_tokens=len(ids),
            is_finished=is_finished or is_stopped,
        )


def similar_lengths(responses: Sequence[Response]) -> list[list[int]]:
    """Places of the responses, in groups in which the longest may come to at most twice the tokens of any other.

    The longest prompts stand first, so that what does not fit in memory fails at once, and equal ones side by side.
    """
    order = sorted(range(len(responses)), key=lambda number: (-len(responses[number].prompt), responses[number].prompt))
    groups: list[list[int]] = []
    for number in order:
        if not groups or responses[groups[-1][0]].length > 2 * responses[number].length:
            groups.append([])
        groups[-1].append(number)
    return groups


def _find_stop_ids(student: Student) -> frozenset[int]:
    """Return the ids that end a response: the tokenizer's end of sequence and those of the generation config."""
    configured = student.model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(stop for stop in (*ids, student.tokenizer.eos_token_id) if stop is not None)
