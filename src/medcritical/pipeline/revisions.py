"""Hub models: from the branch or tag that a configuration names to the commit that it stands for today.

A step between configuration and plan. The commit takes the revision's place in the configuration, so that it is part of keys
and is what is loaded; a branch that has moved is another artefact. No torch, no transformers; nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medcritical.config.choices import EngineKind, StudentKind
from medcritical.config.packaged import PACKAGE
from medcritical.config.schema import Config, EngineConfig
from medcritical.errors import ConfigError
from medcritical.pipeline.sources import is_path

_SECONDS = 5.0  # for the hub's answer


@dataclass(frozen=True)
class HubModel:
    """A model that is loaded from the Hugging Face hub.

    Attributes:
        place: where the configuration says its revision, e.g. ("student", "revision").
        source: the key that names the model.
        revision: as it was asked for; empty for the main branch.
        commit: what this stands for, 40 hexadecimal digits; None where `fault` says why it is not known.
    """

    place: tuple[str, ...]
    source: str
    model: str
    revision: str
    commit: str | None = None
    fault: str = ""

    @property
    def key(self) -> str:
        """The revision's key."""
        return ".".join(self.place)

    def __str__(self) -> str:
        asked = f"hub model {self.model}: {self.key}={self.revision or 'main'}"
        if self.commit is None:
            return f"{asked} is a commit that is not known here ({self.fault}): with it, keys will be others than below"
        return f"{asked} is commit {self.commit}"


def resolve_revisions(config: Config) -> tuple[Config, list[HubModel]]:
    """The configuration with commits in place of revisions, as far as they are known here, and the models that it names."""
    models = []
    for model in hub_models(config):
        commit, fault = find_commit(model.model, model.revision)
        models.append(dataclasses.replace(model, commit=commit, fault=fault))
        if commit is not None:
            config = _with(config, model.place, commit)
    return config, models


def require_commits(models: Sequence[HubModel]) -> None:
    """Raise ConfigError for a model whose commit is not known: nobody could say what its artefacts were made of."""
    for model in models:
        if model.commit is None:
            raise ConfigError(
                f"{model.key}={model.revision or 'main'} of {model.model} cannot be resolved to a commit, for {model.fault}: "
                f"connect once, set {model.key} to a commit, or {model.source} to a local folder."
            )


def hub_models(config: Config) -> Iterator[HubModel]:
    """The models of a configuration that are loaded from the hub, by us or by a server that we start."""
    student, uses_student = config.student, config.evaluation.base or config.evaluation.sft or bool(config.arms)
    if uses_student and student.kind is StudentKind.pretrained and _is_on_hub(student.source):
        yield HubModel(("student", "revision"), "student.source", student.source, student.revision)
    for name, baseline in config.baselines.items():
        own = baseline.student
        if _is_on_hub(own.source):
            place = ("baselines", name, "student", "revision")
            yield HubModel(place, f"baselines.{name}.student.source", own.source, own.revision)
    for key, engine in _asked_engines(config):
        if _takes_revision(engine) and _is_on_hub(engine.model):
            yield HubModel((*key.split("."), "revision"), f"{key}.model", engine.model, engine.revision)


def _asked_engines(config: Config) -> Iterator[tuple[str, EngineConfig]]:
    if config.teacher.engine is not None:
        yield "teacher.engine", config.teacher.engine
    if config.verifier.judge is not None:
        yield "verifier.judge.engine", config.verifier.judge.engine


def _takes_revision(engine: EngineConfig) -> bool:
    """True for a model that is loaded for us; what a running server has loaded is not ours to say."""
    return engine.kind in (EngineKind.embedded, EngineKind.managed)


def _is_on_hub(model: str) -> bool:
    """True for a Hugging Face id; a path, a packaged file and no name at all are none."""
    return bool(model) and not (is_path(model) or model.startswith(PACKAGE) or Path(model).expanduser().exists())


@cache
def find_commit(model: str, revision: str) -> tuple[str | None, str]:
    """The commit of a hub model's revision, and why there is none. Asked once per process: all cells of a sweep have one.

    The hub says it; the local cache, where the hub cannot be reached, or is not to be (HF_HUB_OFFLINE). A commit is itself.
    """
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision, ""
    from huggingface_hub import HfApi, constants, errors  # a third of a second
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # base of its client's, whichever client it has

    unreachable = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        try:
            commit = HfApi().model_info(model, revision=revision or "main", timeout=_SECONDS).sha
            return commit, "" if commit else "the hub names no commit"
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
            return None, "the hub knows no such model and revision, or shows it to members only"
        except (OSError, HTTPError):  # no connection, no answer in time, a fault of the hub
            unreachable = "the hub cannot be reached"
    commit = _cached_commit(model, revision or "main")
    return commit, "" if commit else f"{unreachable} and the local cache does not have it"


def _cached_commit(model: str, revision: str) -> str | None:
    """What the revision was when the model was last downloaded; None where it never was."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model, "config.json", revision=revision)
    except HFValidationError:  # no hub has such a name
        return None
    return Path(config).parent.name if isinstance(config, str) else None


def _with(config: Any, place: Sequence[str], value: str) -> Any:
    """A copy of the configuration with another value in one place."""
    if not place:
        return value
    name, rest = place[0], place[1:]
    if isinstance(config, dict):
        return {**config, name: _with(config[name], rest, value)}
    return dataclasses.replace(config, **{name: _with(getattr(config, name), rest, value)})
