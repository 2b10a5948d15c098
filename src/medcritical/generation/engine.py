"""What every engine promises, and how it is asked. No torch: a remote engine needs none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from medcritical.errors import GenerationError
from medcritical.records import Completion, Prompt, Record


class Sampling(Record, frozen=True):
    """How responses are drawn.

    `temperature` 0 is greedy. `top_p` is the nucleus mass (Holtzman et al., arXiv:1904.09751); 1 keeps every token.
    `max_new_tokens` includes the end of the sequence. `batch_tokens` bounds the responses that are decoded together: their
    prompts and the most that they may write. One response is always decoded, however long.
    A response ends before the first of the texts in `stop`. With `only`, it is one of these numbers and nothing else.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    batch_tokens: int
    stop: tuple[str, ...] = ()
    only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature {self.temperature} must be at least 0 and top_p {self.top_p} in (0, 1]")
        if self.max_new_tokens < 1 or self.batch_tokens < 1:
            raise ValueError(
                f"max_new_tokens {self.max_new_tokens} and batch_tokens {self.batch_tokens} must be at least 1"
            )


@dataclass
class Usage:
    """What an engine has answered with so far, in tokens of its own tokenizer.

    `prompt_tokens` counts a prompt once for all samples that one request asked for. `estimated` answers came without
    token counts. `requests` and `retries` are of a server, and of this process alone; `from_disk` answers were given to
    an earlier one.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    answers: int = 0
    estimated: int = 0
    from_disk: int = 0
    requests: int = 0
    retries: int = 0

    def add(self, other: Usage) -> None:
        """Count in what another engine has answered with."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def since(self, before: Usage) -> Usage:
        """What came after the counts were `before`."""
        return Usage(**{item.name: getattr(self, item.name) - getattr(before, item.name) for item in fields(self)})


class PartlyAnswered(GenerationError):
    """An engine that works could not answer some of the prompts.

    `answers` has an entry for every prompt, None where it has no answer; `reasons` says why, by the place of the prompt.
    Whoever can do without those answers takes the others from here; to everyone else it is an error like any other.
    """

    def __init__(self, answers: list[list[Completion] | None], reasons: dict[int, str]) -> None:
        first = next(iter(reasons.values()))
        super().__init__(f"{len(reasons)} of {len(answers)} prompts have no answer. The first: {first}")
        self.answers, self.reasons = answers, reasons


class Engine(Protocol):
    """Anything that answers prompts."""

    usage: Usage

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Completion]]:
        """Return `samples` completions for every prompt, in the order of the prompts.

        `on_progress` hears (responses done, responses in all) and cannot change the result.

        Raises:
            PartlyAnswered: single prompts cannot be answered; the answers to the others are in it.
            GenerationError: the engine cannot answer.
        """
        ...


class ShareEngine(Engine, Protocol):
    """An engine that can answer a share of a call: it gives what it would have given to the whole."""

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
        """See `Engine`. `places` are those of the prompts in the whole call; equal prompts must be in one share."""
        ...


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first of the texts in `stop`, and whether there was one."""
    places = [place for place in (text.find(mark) for mark in stop) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)
