"""A run and its results: names, folders, sweeps, logs, reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from medcritical.config.choices import WandbMode
from medcritical.config.fields import key


@dataclass
class ExperimentConfig:
    """What an overlay from experiments/ says of itself."""

    fidelity: str = key("official (the published code), paper (its text) or corrected (their flaws mended)")
    command: str = key("what runs it", semantic=False)
    row: str = key("the row of the table that it is about; empty for none")
    published: Optional[float] = key("published accuracy of that row, percent; null: none", ge=0, le=100)
    source: str = key("where that was published, and on what")


@dataclass
class StudyRange:
    """Where a study looks for the value of one key."""

    low: float = key("least value")
    high: float = key("greatest value")
    log: bool = key("look on a logarithmic scale")


@dataclass
class StudyConfig:
    """An Optuna study over cells. It maximises the accuracy that the first arm ends at, on the dev questions."""

    trials: int = key("cells that are asked for in all", ge=1)
    batch: int = key("cells asked for before any of them is told; for launchers that run several at a time", ge=1)
    seed: int = key("seed of the sampler", ge=0)
    space: dict[str, StudyRange] = key("range by configuration key")


@dataclass
class SweepConfig:
    """How the cells of a sweep are run. Nothing here changes what a cell computes."""

    on_error: str = key("stop or continue: what a failed cell means for those that have not started")
    failed: str = key("retry or keep: what the next launch does with cells that failed")
    study: Optional[StudyConfig] = key("who asks for cells; null: the grid that the overrides span")


@dataclass
class LoggerConfig:
    """Where metrics go besides the JSONL that is always written."""

    wandb: WandbMode = key("Weights & Biases")
    project: str = key("W&B project")
    entity: str = key("W&B entity; empty for the default")
    tags: list[str] = key("W&B tags")
    samples: int = key(
        "corrections per arm and iteration in W&B's table of samples; 0: no text leaves the machine", ge=0
    )
    system_seconds: float = key("between two looks at processor, memory and GPU while stages run; 0: none", ge=0)


@dataclass
class TokenPrice:
    """What a million tokens cost."""

    prompt: float = key("read", ge=0)
    completion: float = key("written", ge=0)


@dataclass
class PricesConfig:
    """What the models' tokens cost. A model of one's own costs its machine: put in what that comes to."""

    currency: str = key("name of the currency in tables")
    teacher: TokenPrice = key("per million tokens")
    student: TokenPrice = key("per million tokens")
    judge: TokenPrice = key("per million tokens")


@dataclass
class ReportConfig:
    """Tables and figures."""

    baseline: str = key("arm that differences are taken to")
    prices: Optional[PricesConfig] = key("prices of tokens; null: the ledger counts tokens and seconds alone")


@dataclass
class PathsConfig:
    """Folders."""

    store: str = key("artefacts, shared by all runs; MEDCRITICAL_STORE sets it")
    outputs: str = key("one folder per run, named by its configuration")
    data: str = key("folder of published data sets; MEDCRITICAL_DATA sets it")
