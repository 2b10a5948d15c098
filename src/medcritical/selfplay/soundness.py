"""Process verification: an attempt is right only if its reasoning is, where the data set can tell."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from medcritical.records import Attempt, Completion, Question
from medcritical.selfplay.verify import Verifier


class SoundVerifier:
    """Takes another verifier's word for the answer and the data set's for the reasoning. Both have to be right."""

    def __init__(self, verifier: Verifier) -> None:
        self.verifier = verifier

    def verify(self, answered: Sequence[tuple[Question, Completion]], *, round: int) -> list[Attempt]:
        """See `Verifier`."""
        attempts = self.verifier.verify(answered, round=round)
        return [msgspec.structs.replace(item, is_correct=item.is_correct and bool(item.is_sound)) for item in attempts]
