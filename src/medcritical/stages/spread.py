"""Answers by shares: each is kept on disk when it is whole, and where there are several ranks all of them answer.

Rank 0 does what one process does. The others hold the engines that it opens, and answer the shares that it deals:

    rank 0: stage -> SpreadEngine.generate -> a share to every rank -> answers in the unfinished folder -> rank 0

so that nothing is decided, verified or asked of a running server twice, and rank 0 alone holds all records. A share is
every n-th of the different prompts; equal ones stay together, for a server numbers its samples by what it is asked. A stage
that starts again finds the shares that are whole.
"""

from __future__ import annotations

import gzip
import itertools
import logging
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from medcritical.config.choices import Arithmetic, EngineKind, Precision
from medcritical.config.load import to_identity
from medcritical.config.schema import EngineConfig
from medcritical.errors import GenerationError
from medcritical.generation.engine import Engine, PartlyAnswered, Sampling, ShareEngine, Usage
from medcritical.modeling.device import arithmetic_of_reading, resolve_device, resolve_dtype
from medcritical.records import Completion, Prompt, Record
from medcritical.stages.context import Output
from medcritical.store.hashing import hash_json
from medcritical.store.jsonl import write_atomically
from medcritical.training.ranks import Ranks, current_ranks, deal_to_ranks, meet_ranks

ANSWERS = "answers"
"""Folder beside an unfinished artefact where whole shares lie."""

_numbers = itertools.count()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opening:
    """An engine to open: over a checkpoint, or (None) over the model that `config` names.

    `identity` tells the model from others: a checkpoint's key. `number` tells the engine from others that are open.
    `arithmetic` is what an embedded one computes in on this machine.
    """

    config: EngineConfig
    checkpoint: Path | None
    identity: str
    precision: Precision
    number: int = 0
    arithmetic: Arithmetic | None = None

    def is_held_by(self, ranks: Ranks) -> bool:
        """True for a rank that opens it: each one that has a model of its own, of a server's GPUs the first."""
        return self.config.kind is not EngineKind.managed or ranks.local_rank % self.config.gpus == 0


@dataclass(frozen=True)
class Share:
    """Prompts for an engine that is open, their places in the whole call, and where the answers go."""

    engine: int
    path: Path
    prompts: tuple[Prompt, ...]
    places: tuple[int, ...]
    sampling: Sampling
    samples: int
    seed: int


@dataclass(frozen=True)
class Closing:
    """An engine is done with."""

    engine: int


Order = Opening | Share | Closing | None
"""What rank 0 tells the others to do; None: the stage is over."""

Open = Callable[[Opening], AbstractContextManager[ShareEngine]]


class Answers(Record, frozen=True, kw_only=True):
    """What came of a share, by its prompts: answers, or the reason why there are none. `usage` is what they took."""

    usage: Usage
    completions: list[list[Completion] | None]
    reasons: dict[int, str]


def run_spread(stage: Callable[[], None], open_engine: Open, ranks: Ranks, timeout_seconds: float) -> None:
    """Run a stage on rank 0, and on the others what it orders."""
    if ranks.is_first:
        stage()
        deal_to_ranks([None] * ranks.size)
    else:
        _obey(ranks, open_engine, timeout_seconds)


def _obey(ranks: Ranks, open_engine: Open, timeout_seconds: float) -> None:
    engines, stacks = dict[int, ShareEngine](), dict[int, ExitStack]()
    while (order := _next_order()) is not None:
        if isinstance(order, Opening):
            stack = stacks[order.number] = ExitStack()
            if order.is_held_by(ranks):
                engines[order.number] = stack.enter_context(open_engine(order))
        elif isinstance(order, Share):
            if order.prompts:
                answer_share(engines[order.engine], order)
            meet_ranks(timeout_seconds)
        else:
            engines.pop(order.engine, None)
            stacks.pop(order.engine).close()


def _next_order() -> Order:
    return deal_to_ranks(None)


@contextmanager
def spread_engine(opening: Opening, open_engine: Open, output: Output) -> Iterator[Engine]:
    """An engine that rank 0 asks and all ranks hold. Its whole shares are kept where the stage may start again."""
    ranks, arithmetic = current_ranks(), None
    if opening.config.kind is EngineKind.embedded:
        device = resolve_device(output.trainer.accelerator)
        arithmetic = arithmetic_of_reading(resolve_dtype(opening.precision, device))
    opening = replace(opening, number=next(_numbers), arithmetic=arithmetic)
    if ranks.size > 1:
        deal_to_ranks([opening] * ranks.size)
    with open_engine(opening) as engine:
        folder = None if output.checkpoints is None else output.checkpoints / ANSWERS
        yield engine if folder is None else SpreadEngine(engine, opening, ranks, folder, output.timeout_seconds)
    if ranks.size > 1:
        deal_to_ranks([Closing(opening.number)] * ranks.size)


class SpreadEngine:
    """The engine of rank 0 and its like on the other ranks, as one: see `Engine`."""

    def __init__(
        self, engine: ShareEngine, opening: Opening, ranks: Ranks, folder: Path, timeout_seconds: float
    ) -> None:
        self.engine, self.opening, self.ranks, self.folder = engine, opening, ranks, folder
        self.timeout_seconds, self.usage = timeout_seconds, Usage()
        every = (replace(ranks, rank=rank, local_rank=rank % ranks.local_size) for rank in range(ranks.size))
        self.holders = [one.rank for one in every if opening.is_held_by(one)]

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Completion]]:
        """See `Engine`. Equal to what one process gives, up to rounding: batches hold other prompts."""
        shares = self._shares(prompts, sampling, samples, seed)
        answers: list[list[Completion] | None] = [None] * len(prompts)
        reasons: dict[int, str] = {}
        for first in range(0, len(shares), len(self.holders)):
            some = shares[first : first + len(self.holders)]
            done = sum(answer is not None for answer in answers) * samples
            self._answer(some, done, len(prompts) * samples, on_progress)
            for share in some:
                if share.prompts:
                    made = self._await_answers(share.path)
                    self.usage.add(made.usage)
                    for place, completions in zip(share.places, made.completions, strict=True):
                        answers[place] = completions
                    reasons |= {share.places[number]: reason for number, reason in made.reasons.items()}
        complete = [answer for answer in answers if answer is not None]
        if len(complete) < len(answers):
            raise PartlyAnswered(answers, reasons)
        return complete

    def _shares(self, prompts: Sequence[Prompt], sampling: Sampling, samples: int, seed: int) -> list[Share]:
        """As many for every rank that answers, none of more than about `keep_every` responses."""
        by_prompt: dict[Prompt, list[int]] = {}
        for place, prompt in enumerate(prompts):
            by_prompt.setdefault(prompt, []).append(place)
        groups, num_holders = list(by_prompt.values()), len(self.holders)
        number = num_holders * max(1, -(-len(prompts) * samples // (num_holders * self.opening.config.keep_every)))
        engine, arithmetic = self.opening, self.opening.arithmetic and self.opening.arithmetic.value
        asked = msgspec.to_builtins([prompts, sampling])
        key = hash_json([to_identity(engine.config), engine.identity, arithmetic, asked, samples, seed])
        shares = []
        for index in range(number):
            places = tuple(sorted(place for group in groups[index::number] for place in group))
            path = self.folder / key[:16] / f"{index:05}-of-{number:05}.json.gz"
            asked_there = tuple(prompts[place] for place in places)
            shares.append(Share(engine.number, path, asked_there, places, sampling, samples, seed))
        return shares

    def _answer(
        self, shares: Sequence[Share], done: int, total: int, on_progress: Callable[[int, int], None] | None
    ) -> None:
        """Have every rank that holds an engine answer one share, and this one its own; return when all have."""
        if self.ranks.size > 1:
            nothing = replace(shares[0], prompts=(), places=())
            by_rank = dict(zip(self.holders, shares, strict=True))
            deal_to_ranks([by_rank.get(rank, nothing) for rank in range(self.ranks.size)])

        def tell(own_done: int, own_total: int) -> None:
            if on_progress is not None:  # the others are as far
                on_progress(min(done + own_done * len(shares), total), total)

        if shares[0].prompts:
            answer_share(self.engine, shares[0], tell)
        meet_ranks(self.timeout_seconds)

    def _await_answers(self, path: Path) -> Answers:
        """What a rank has written, as soon as it is to be seen: a shared file system may take its time."""
        deadline = time.monotonic() + self.timeout_seconds
        while (answers := _read(path)) is None:
            if time.monotonic() > deadline:
                raise GenerationError(
                    f"{path} was written by another rank and is not to be seen here: share the store."
                )
            time.sleep(0.2)
        return answers


def answer_share(engine: ShareEngine, share: Share, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Write the answers to a share, unless they are there and whole."""
    if (kept := _read(share.path)) is not None and not kept.reasons:
        return
    before, reasons = replace(engine.usage), dict[int, str]()
    completions: Sequence[list[Completion] | None]
    try:
        completions = engine.generate(
            share.prompts,
            share.sampling,
            samples=share.samples,
            seed=share.seed,
            on_progress=on_progress,
            places=share.places,
        )
    except PartlyAnswered as partly:
        completions, reasons = partly.answers, partly.reasons
    answers = Answers(usage=engine.usage.since(before), completions=list(completions), reasons=reasons)
    write_atomically(share.path, gzip.compress(msgspec.json.encode(answers), mtime=0))


def _read(path: Path) -> Answers | None:
    """Answers on disk; None where there are none, or damaged ones (gzip holds a checksum)."""
    try:
        return msgspec.json.decode(gzip.decompress(path.read_bytes()), type=Answers)
    except FileNotFoundError:
        return None
    except (gzip.BadGzipFile, EOFError, zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        logger.warning("%s is damaged (%s); its answers are made again", path, error)
        return None
