"""Where questions come from, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from medcritical.config.choices import DataFormat, OnError, SplitRule
from medcritical.config.fields import key


@dataclass
class WorldConfig:
    """Size and difficulty of the synthetic clinic."""

    name: str = key("the world in names of runs and tables", semantic=False)
    diagnosis: float = key("share of questions that ask for the diagnosis", ge=0, le=1)
    test: float = key("share that ask for the test", ge=0, le=1)
    treatment: float = key("share that ask for the treatment", ge=0, le=1)
    options: int = key("options per question", ge=2, le=8)
    hallmark_shown: float = key("probability that a hallmark finding is shown", gt=0, le=1)
    noise_min: int = key("fewest findings that do not belong to the condition", ge=0, le=6)
    noise_max: int = key("most findings that do not belong to the condition", ge=0, le=6)
    posterior_min: float = key("least naive-Bayes posterior of the true condition", gt=0, lt=1)


@dataclass
class DataFiles:
    """Files per split; what they mean is said by `data.split`."""

    train: list[str] = key("files of the train split")
    dev: list[str] = key("files of the dev split")
    test: list[str] = key("files of the test split")


@dataclass
class SplitSizes:
    """Questions per split. null: all there are (train: all that dev and test leave)."""

    train: Optional[int] = key("questions to learn from", ge=1)
    dev: Optional[int] = key("questions for choices made while training", ge=0)
    test: Optional[int] = key("held-out questions", ge=1)


@dataclass
class DataConfig:
    """Questions: where they come from and how they are split."""

    name: str = key("data set name in tables", semantic=False)
    format: DataFormat = key("upstream format")
    language: str = key("en or zh")
    files: DataFiles = key("files per split; empty for the clinic")
    encoding: str = key("text encoding of the files; utf-8 also accepts a byte order mark")
    split: SplitRule = key("official files, official test ids, or a seeded re-split")
    sizes: SplitSizes = key("questions per split")
    seed: int = key("what is drawn of questions: splits, orders of options, the clinic's questions", ge=0)
    on_error: OnError = key("what a bad row does")
    contamination: Optional[float] = key(
        "Jaccard similarity to a train question from which a held-out one is flagged as its copy; null: no search",
        gt=0,
        le=1,
    )
    shuffle_options: bool = key(
        "put the options of every question in an order drawn by `seed`; letters in texts follow"
    )
    world: Optional[WorldConfig] = key("the clinic's world; null for files")
