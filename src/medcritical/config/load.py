"""From a composed DictConfig to the typed, checked `Config`. The only file that knows OmegaConf's conversions."""

from __future__ import annotations

import dataclasses
import difflib
import re
from enum import Enum
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medcritical.config.check import contradictions
from medcritical.config.fields import is_in_key, range_faults
from medcritical.config.schema import Config
from medcritical.errors import ConfigError

_KINDS = {"Float": "a number", "Integer": "a whole number", "bool": "true or false", "String": "text"}


def load_config(composed: DictConfig) -> Config:
    """The typed configuration. Raises ConfigError with one sentence per fault: key, value, what is allowed."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), composed)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(config, Config)
    faults = list(range_faults(config)) or list(contradictions(config))
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def to_plain(config: Any) -> Any:
    """A configuration (or any part of it) as plain JSON values."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {name: to_plain(value) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_plain(value) for value in config]
    return config.value if isinstance(config, Enum) else config


def to_identity(config: Any) -> Any:
    """As `to_plain`, without what is in no key (see `config.fields.key`): what artefacts are keyed by."""
    if dataclasses.is_dataclass(config):
        values = [(field, getattr(config, field.name)) for field in dataclasses.fields(config)]
        return {field.name: to_identity(value) for field, value in values if is_in_key(field, value)}
    if isinstance(config, dict):
        return {name: to_identity(value) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_identity(value) for value in config]
    return to_plain(config)


def explain(error: OmegaConfBaseException) -> str:
    """One sentence for an OmegaConf error: the key, what is wrong, what is allowed."""
    key, message = error.full_key or "", (error.msg or str(error)).splitlines()[0]
    if match := re.match(r"Key '(.+?)' (?:not in|is not in)", message):
        return unknown_key(key or match.group(1))
    if "missing mandatory value" in message.lower():
        return f"{key} has no value, and none can be guessed: set it ({key}=...); docs/configuration.md says what it means."
    if "Incompatible value 'None'" in message:
        return f"{key}=null is not allowed: {key} must have a value."
    if match := re.search(r"Invalid type assigned: .* is not a subclass of \w+\. value: (.*)", message):
        return f"{key}={match.group(1)} is not allowed: {key} is a group of keys; set those, e.g. {_first_key_in(key)}."
    if match := re.search(r"Value '(.*)' (?:of type '.*' could not be converted to|is not a valid) (\w+)", message):
        wanted = _KINDS.get(match.group(2), match.group(2))
        return f"{key}={match.group(1)} is not allowed: {key} must be {wanted}{_meaning(key)}."
    if "is not a ListConfig" in message:
        return f"{key} is a list: write {key}=[ITEM,ITEM]."
    if re.search(r"Cannot assign \w+ to Dict", message):
        return (
            f"{key} is a group of named entries: {'choose them with arm=NAME' if key == 'arms' else 'set keys in it'}."
        )
    if match := re.search(r"Invalid value '(.*)', expected one of (\[.*\])", message):
        return f"{key}={match.group(1)} is not allowed: choose one of {match.group(2)}."
    return f"{key}: {message.rstrip('.')}."


def _first_key_in(group: str) -> str:
    return next((name for name in all_keys() if name.startswith(f"{group}.")), f"{group}.NAME")


def unknown_key(key: str) -> str:
    """The sentence for a key that the schema does not have, with the nearest one it has."""
    near = difflib.get_close_matches(key, [*all_keys(), "arm", "experiments", "sweeps"], n=1)
    hint = f"did you mean {near[0]}?" if near else "`medcritical --cfg job` lists all keys."
    return f"{key} is no configuration key: {hint}"


def all_keys() -> list[str]:
    """Dotted names of every key of the schema."""
    return list(_docs_of(Config, ""))


def _meaning(key: str) -> str:
    """What a key means, in brackets; empty for one of a group that the user named."""
    doc = _docs_of(Config, "").get(key)
    return f" ({doc})" if doc else ""


def _docs_of(schema: type, prefix: str) -> dict[str, str]:
    """Meaning by dotted name of every key of a schema."""
    import typing

    docs, hints = {}, typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        docs[name] = field.metadata["doc"]
        for part in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(part) and isinstance(part, type) and typing.get_origin(hint) is not dict:
                docs |= _docs_of(part, f"{name}.")
    return docs
