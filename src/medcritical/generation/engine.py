"""What every engine promises, and how it is asked. No torch: a remote engine needs none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from medcritical.records import Completion, Prompt, Record


class Sampling(Record, frozen=True):
    """How responses are drawn.

    `temperature` 0 is greedy. `top_p` is the nucleus mass (Holtzman et al., arXiv:1904.09751); 1 keeps every token.
    `max_new_tokens` includes the end of the sequence. `batch_size` is the number of responses decoded together.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    batch_size: int

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature {self.temperature} must be at least 0 and top_p {self.top_p} in (0, 1]")
        if self.max_new_tokens < 1 or self.batch_size < 1:
            raise ValueError(
                f"max_new_tokens {self.max_new_tokens} and batch_size {self.batch_size} must be at least 1"
            )


class Engine(Protocol):
    """Anything that answers prompts."""

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
            GenerationError: a prompt cannot be answered.
        """
        ...
