"""What is trained on, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medcritical.errors import DataError

Ids = Sequence[int]


@dataclass(frozen=True)
class Example:
    """A prompt and the response to learn, as token ids. The response ends with the end-of-sequence token."""

    prompt_ids: Ids
    response_ids: Ids

    def __post_init__(self) -> None:
        _require_tokens(prompt=self.prompt_ids, response=self.response_ids)

    @property
    def responses(self) -> tuple[Ids, ...]:
        """The one response."""
        return (self.response_ids,)

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True)
class PairExample:
    """A preference pair as token ids, with reference log-probabilities: nats, summed over response tokens.

    Without `rejected_ids` there are no log-probabilities either: the chosen response then feeds the NLL term alone, which
    needs no reference. `weight` is what the example counts in the loss and in its normaliser.
    """

    prompt_ids: Ids
    chosen_ids: Ids
    rejected_ids: Ids | None
    reference_chosen_logp: float | None
    reference_rejected_logp: float | None
    weight: float = 1.0

    def __post_init__(self) -> None:
        _require_tokens(prompt=self.prompt_ids, chosen=self.chosen_ids)
        if len({part is None for part in (self.rejected_ids, *self.reference_logps)}) > 1:
            raise DataError(
                "A pair needs a rejected response and both reference log-probabilities, or none of the three."
            )
        if not self.weight > 0:
            raise DataError(f"A pair has the weight {self.weight:g}; it must be greater than 0.")
        if self.rejected_ids is not None:
            _require_tokens(rejected=self.rejected_ids)

    @property
    def responses(self) -> tuple[Ids, ...]:
        """Chosen, then rejected where there is one."""
        return (self.chosen_ids,) if self.rejected_ids is None else (self.chosen_ids, self.rejected_ids)

    @property
    def reference_logps(self) -> tuple[float | None, float | None]:
        """Of chosen and rejected."""
        return self.reference_chosen_logp, self.reference_rejected_logp

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longer response."""
        return len(self.prompt_ids) + max(map(len, self.responses))


AnyExample = Example | PairExample


def prompt_key(example: AnyExample) -> tuple[int, ...]:
    """What examples of one question share."""
    return tuple(example.prompt_ids)


def _require_tokens(**parts: Ids) -> None:
    for name, ids in parts.items():
        if not len(ids):
            raise DataError(
                f"An example has an empty {name}: no token precedes the first response token, or none does."
            )
