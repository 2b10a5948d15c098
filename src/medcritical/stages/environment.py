"""The environment of an artefact: gathered where its stage has run. Loads no library that the stage has not."""

from __future__ import annotations

import importlib.metadata
import platform

from medcritical.stages.context import Computation
from medcritical.store import Environment

MODELS, ADAPTERS, GGUF = ("torch", "transformers"), ("peft",), ("gguf",)
TRAINING, ZERO = (*ADAPTERS, "lightning"), ("deepspeed",)


def environment_of(computed: Computation, commit: str | None) -> Environment:
    """The environment of what a stage has made here; `commit` is of the source tree, see `Environment`."""
    return Environment(
        commit=commit,
        python=platform.python_version(),
        packages={name: _version(name) for name in sorted(computed.packages)},
        servers=computed.servers,
        devices=tuple(sorted(computed.devices)),
        ranks=computed.ranks,
        strategy=computed.strategy,
        arithmetic=" and ".join(sorted(one.value for one in computed.arithmetic)),
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
