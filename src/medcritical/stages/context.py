"""What a stage is given besides its slice, and what it gives back besides files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medcritical.config.choices import Arithmetic, StrategyKind
from medcritical.config.schema import TrainerConfig
from medcritical.generation.engine import Usage
from medcritical.records import Record
from medcritical.store import ArtefactRef, Costs, Manifest, Store, write_records
from medcritical.store.environment import UNKNOWN_VERSION

STOPPED = "stopped"
"""The fact of an artefact that was left empty because its loop had stopped. Whatever reads it is left empty too."""

Progress = Callable[[int, int, str], None]
"""Called with (done, total, unit)."""


@dataclass(frozen=True)
class Inputs:
    """The artefacts a stage reads, by role."""

    store: Store
    refs: Mapping[str, ArtefactRef]

    def __contains__(self, role: str) -> bool:
        return role in self.refs

    def __getitem__(self, role: str) -> Path:
        """Folder of an input."""
        return self.store.folder(self.refs[role])

    @property
    def have_stopped(self) -> bool:
        """True when one of them was left empty because its loop had stopped."""
        return any(self.store.manifest(ref).facts.get(STOPPED) for ref in self.refs.values())

    def manifest(self, role: str) -> Manifest:
        """Manifest of an input."""
        return self.store.manifest(self.refs[role])


@dataclass
class Computation:
    """With what a stage ran models, for its manifest (`store.Environment`); empty where it ran none."""

    packages: set[str] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)
    ranks: int = 1
    strategy: str = ""
    arithmetic: set[Arithmetic] = field(default_factory=set)
    servers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_ranks(cls, computed: Iterable[Computation]) -> Computation:
        """What the ranks of a stage have used together. A version that one rank knows of a server counts for all."""
        computed = list(computed)
        versions: dict[str, set[str]] = defaultdict(set)
        for one in computed:
            for name, version in one.servers.items():
                versions[name].add(version)
        return cls(
            packages=set[str]().union(*(one.packages for one in computed)),
            devices=set[str]().union(*(one.devices for one in computed)),
            ranks=len(computed),
            strategy=computed[0].strategy,
            arithmetic=set[Arithmetic]().union(*(one.arithmetic for one in computed)),
            servers={
                name: " and ".join(sorted(found - {UNKNOWN_VERSION})) or UNKNOWN_VERSION
                for name, found in versions.items()
            },
        )


@dataclass
class Output:
    """Where a stage writes, whom it tells how far it is, and the machine's settings that do not change results.

    Attributes:
        checkpoints: where a training keeps the state it goes on from after a stop; None: it keeps none.
        deadline: time (seconds since the epoch) by which a training must have stopped.
        strategy: how it is spread over ranks.
        timeout_seconds: longest that a rank waits for the others.
        is_one_rank: other processes make the same artefact with this one.
        tell: takes sentences for the person who watches.
        keep: takes what a training wants called when the artefact is complete; see `training.resume.Recovery`.
    """

    folder: Path
    trainer: TrainerConfig
    progress: Progress
    checkpoints: Path | None = None
    deadline: float | None = None
    strategy: StrategyKind = StrategyKind.auto
    timeout_seconds: float = 1800.0
    is_one_rank: bool = False
    tell: Callable[[str], None] = print
    keep: Callable[[Callable[[], None]], object] = lambda release: release()
    facts: dict[str, Any] = field(default_factory=dict)
    computed: Computation = field(default_factory=Computation)
    teacher_tokens: int = 0
    student_tokens: int = 0
    judge_tokens: int = 0
    teacher_prompt_tokens: int = 0
    student_prompt_tokens: int = 0
    judge_prompt_tokens: int = 0
    retries: int = 0

    def write(self, name: str, records: Iterable[Record]) -> None:
        """Write a file of records, in compressed parts where there are many."""
        write_records(self.folder / name, records, self.trainer.records_per_file)

    def spend(self, who: Literal["teacher", "student", "judge"], usage: Usage) -> None:
        """Enter what an engine has used in all on the account of the model it asks: once per engine, at the end."""
        for name, tokens in (("prompt_tokens", usage.prompt_tokens), ("tokens", usage.completion_tokens)):
            account = f"{who}_{name}"
            setattr(self, account, getattr(self, account) + tokens)
        self.retries += usage.retries

    def leave_empty(self) -> None:
        """Say that there is nothing here, and nothing to do after it, because the loop has stopped."""
        self.facts.update({STOPPED: True, "shown": ["nothing: the loop has stopped"]})

    def costs(self, seconds: float) -> Costs:
        """What the stage took, for the manifest."""
        return Costs(
            teacher_tokens=self.teacher_tokens,
            student_tokens=self.student_tokens,
            judge_tokens=self.judge_tokens,
            teacher_prompt_tokens=self.teacher_prompt_tokens,
            student_prompt_tokens=self.student_prompt_tokens,
            judge_prompt_tokens=self.judge_prompt_tokens,
            retries=self.retries,
            seconds=round(seconds, 3),
        )
