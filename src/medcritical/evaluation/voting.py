"""Self-consistency: the commonest of several answers to one question counts (arXiv:2203.11171)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from medcritical.records import Attempt


def majority(attempts: Sequence[Attempt]) -> Attempt:
    """The first attempt that gives the commonest answer; of equally common ones that which came first.

    Attempts without an answer have no vote; the first one stands where none has an answer. Its tokens are those of all
    attempts together, for that is what the answer took.
    """
    votes = Counter(attempt.letters for attempt in attempts if attempt.letters is not None)
    winner = votes.most_common(1)[0][0] if votes else None
    first = next(attempt for attempt in attempts if attempt.letters == winner)
    return msgspec.structs.replace(first, completion_tokens=sum(attempt.completion_tokens for attempt in attempts))
