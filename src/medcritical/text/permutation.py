"""A question with its options in another order, and the way back: pure functions for shuffling and for consistency.

An order is a string of the question's letters: the option under its first letter is shown first, and so on. The labels
stay in place, gaps included, and the texts move: order "CAB" shows C's text under A, A's under B, B's under C.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping

import msgspec

from medcritical.records import Question
from medcritical.text.lettering import rewrite_combinations, rewrite_explicit, rewrite_letters

# "以上都不是", "None of the above": true of what stands above, so that it may not move, nor may anything cross it.
_POSITIONAL = re.compile(
    r"[(（]?(?:以上|上述|以下)(?!\s?\d)|.{0,60}\b(?:of|all|none)\s(?:the\s)?(?:above|below|preceding|following)\b",
    re.IGNORECASE,
)


def permute_options(question: Question, order: str) -> Question:
    """The question with its option texts in `order`; gold, explanation and letters named in the texts follow.

    Raises:
        ValueError: `order` is not made of the question's letters, each once.
    """
    new = new_letters(question, order)
    options = {letter: rewrite_explicit(text, new) for letter, text in _moved(question, new).items()}
    return msgspec.structs.replace(
        question,
        stem=rewrite_explicit(question.stem, new),
        options=options,
        answer="".join(sorted(new[letter] for letter in question.answer)),
        explanation=rewrite_letters(question.explanation, new, question.options),
    )


def _moved(question: Question, new: Mapping[str, str]) -> dict[str, str]:
    texts = rewrite_combinations(question.options, new)
    old = {letter: origin for origin, letter in new.items()}
    return {letter: texts[old[letter]] for letter in question.options}


def new_letters(question: Question, order: str) -> dict[str, str]:
    """Old letter -> the letter that its text has in `order`.

    Raises:
        ValueError: `order` is not made of the question's letters, each once.
    """
    if sorted(order) != sorted(question.options):
        raise ValueError(f"order {order!r} is no order of the options {''.join(question.options)}")
    return dict(zip(order, question.options, strict=True))


def restore_letters(letters: str | None, question: Question, order: str) -> str | None:
    """What an answer to `permute_options(question, order)` is in the question's own letters; None stays None."""
    if letters is None:
        return None
    old = {letter: origin for origin, letter in new_letters(question, order).items()}
    return "".join(sorted(old[letter] for letter in letters))


def draw_order(question: Question, seed: int) -> str:
    """A random order that depends on the seed and on stem and options alone, the same for every copy of a question.

    Options that speak of those above them ("以上都不是") stay in place, and no option crosses one.
    """
    return _shuffled(question, _rng(question, seed))


def draw_orders(question: Question, count: int, seed: int) -> list[str]:
    """Up to `count` different orders, the question's own first; fewer where it does not have so many."""
    rng, orders = _rng(question, seed), ["".join(question.options)]
    wanted = min(count, math.prod(math.factorial(len(block)) for block in _blocks(question)))
    while len(orders) < wanted:
        order = _shuffled(question, rng)
        if order not in orders:
            orders.append(order)
    return orders


def _rng(question: Question, seed: int) -> random.Random:
    return random.Random("\0".join([str(seed), question.stem, *question.options, *question.options.values()]))


def _shuffled(question: Question, rng: random.Random) -> str:
    return "".join("".join(rng.sample(block, len(block))) for block in _blocks(question))


def _blocks(question: Question) -> Iterator[str]:
    """Letters that may change places with each other, in order; a positional option is a block of its own."""
    block = ""
    for letter, text in question.options.items():
        if _POSITIONAL.match(text):
            yield from filter(None, (block, letter))
            block = ""
        else:
            block += letter
    if block:
        yield block
