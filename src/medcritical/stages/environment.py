"""The environment of an artefact: gathered where its stage has run. Loads no library that the stage has not."""

from __future__ import annotations

import importlib.metadata
import platform

from medcritical.config.choices import StrategyKind
from medcritical.config.cluster import zero_stage
from medcritical.stages.context import Computation
from medcritical.store import Environment

MODELS, TRAINING, ZERO = ("torch", "transformers"), ("peft", "lightning"), ("deepspeed",)


def environment_of(stage: str, computed: Computation, strategy: StrategyKind, commit: str | None) -> Environment:
    """The environment of what `stage` has made here.

    Args:
        strategy: as it was configured; `computed` has what it came to.
        commit: of the source tree, see `Environment`.
    """
    return Environment(
        commit=commit,
        python=platform.python_version(),
        packages={name: _version(name) for name in _packages(stage, computed, strategy)},
        servers=computed.servers,
        devices=tuple(sorted(computed.devices)),
        ranks=computed.ranks,
        strategy=computed.strategy,
        arithmetic=" and ".join(sorted(computed.arithmetic)),
    )


def _packages(stage: str, computed: Computation, strategy: StrategyKind) -> tuple[str, ...]:
    """Those that decide what comes out of the stage."""
    if computed.strategy:  # a training, or its scoring
        return (*MODELS, *TRAINING, *(ZERO if zero_stage(strategy) else ()))
    return MODELS if computed.devices or stage == "student" else ()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
