"""Composing and checking configurations before Hydra runs anything: readable errors, sweeps checked cell by cell."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import medcritical
from medcritical.config.load import explain, load_config, unknown_key
from medcritical.config.schema import Config
from medcritical.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

ROOT_VARIABLE = "MEDCRITICAL_ROOT"


def configuration_folder() -> Path:
    """conf/, inside an installed package or in the checkout; tells conf/config.yaml where its siblings are."""
    package = Path(medcritical.__file__).resolve().parent
    for root in (package / "configuration", package.parent.parent):
        if (root / "conf" / "config.yaml").is_file():
            os.environ[ROOT_VARIABLE] = str(root)
            return root / "conf"
    raise ConfigError(f"conf/ is neither in {package} nor beside src/: install medcritical again.")


@contextmanager
def hydra_initialized() -> Iterator[None]:
    """Hydra's compose API over this program's conf/."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        yield


@dataclass(frozen=True)
class Composed:
    """One checked cell: its overrides, those of them that are swept, and its configuration, with Hydra's own part too."""

    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    config: Config
    whole: DictConfig


@dataclass(frozen=True)
class Command:
    """What a command line asks for: cells to run, none where Hydra only shows something."""

    cells: tuple[Composed, ...]
    is_sweep: bool


def check_command(arguments: Sequence[str]) -> Command:
    """The checked cells that a command line runs.

    Raises ConfigError for an argument that is no override, a sweep without -m, and every fault of `compose_cells`.

    With another root configuration or search path Hydra must look by itself: composing here would see this one.
    """
    from hydra._internal.utils import get_args_parser  # how Hydra itself reads flags; it has no public name

    known, _ = get_args_parser().parse_known_args(list(arguments))
    swept = _expand(known.overrides)
    for override, choices in zip(known.overrides, swept, strict=True):
        if len(choices) > 1 and not known.multirun:
            raise ConfigError(f"{override} names {len(choices)} values: add -m to sweep over them.")
    if known.config_name or known.config_path or known.config_dir or known.experimental_rerun:
        if known.multirun:
            raise ConfigError(
                "-m does not go with another root configuration: put files into experiments/ or sweeps/ of this folder."
            )
        return Command((), False)
    cells = compose_cells(known.overrides)
    is_sweep = known.multirun or _is_multirun(cells[0].whole)
    return Command(() if known.cfg or known.info else tuple(cells), is_sweep)


def check_overrides(overrides: Sequence[str]) -> list[Config]:
    """The checked configuration of every cell that the overrides span, one when there is no sweep."""
    return [cell.config for cell in compose_cells(overrides)]


def compose_cells(overrides: Sequence[str]) -> list[Composed]:
    """Every cell that the overrides span, composed and checked, in Hydra's order; one when there is no sweep.

    Raises ConfigError for the first cell with a fault, naming the cell when there are several.
    """
    with hydra_initialized():
        axes = _expand(overrides)
        first = _compose([choices[0] for choices in axes])
        if _is_multirun(first):
            axes += _expand(_file_params(first, overrides))
        swept = [number for number, choices in enumerate(axes) if len(choices) > 1]
        cells = list(itertools.product(*axes))
        found = []
        for cell in cells:
            try:
                whole = first if len(cells) == 1 and len(cell) == len(overrides) else _compose(list(cell))
                found.append(Composed(cell, tuple(cell[number] for number in swept), _check(whole), whole))
            except ConfigError as error:
                raise ConfigError(f"in cell {' '.join(cell)}: {error}" if len(cells) > 1 else str(error)) from error
        return found


def _is_multirun(composed: DictConfig) -> bool:
    """True where a sweeps/ file makes the run a sweep."""
    mode = composed.hydra.get("mode")
    return mode is not None and mode.name == "MULTIRUN"


def _file_params(composed: DictConfig, overrides: Sequence[str]) -> list[str]:
    """What a sweeps/ file sweeps over (hydra.sweeper.params) and the command line does not set."""
    params = composed.hydra.sweeper.get("params")
    named = {override.split("=")[0].lstrip("+~") for override in overrides}
    return [f"{key}={value}" for key, value in (params or {}).items() if key not in named]


def _expand(overrides: Sequence[str]) -> list[list[str]]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override
    from hydra.errors import HydraException

    def expand(override: Override) -> list[str]:
        if not override.is_sweep_override():
            return [str(override.input_line)]
        key = override.get_key_element()
        return [f"{key}={value}" for value in override.sweep_string_iterator()]

    try:
        return [expand(override) for override in OverridesParser.create().parse_overrides(list(overrides))]
    except HydraException as error:
        found = re.search(r"override '(.*)'", str(error))
        what = found.group(1) if found else " ".join(overrides)
        raise ConfigError(f"{what} is no override: overrides look like group=option or key=value.") from error


def _compose(overrides: list[str]) -> DictConfig:
    """The composed configuration with Hydra's own part."""
    from hydra import compose

    with readable_hydra_errors():
        composed: DictConfig = compose("config", overrides, return_hydra_config=True)
    return composed


def _check(composed: DictConfig) -> Config:
    from omegaconf import OmegaConf

    return load_config(OmegaConf.masked_copy(composed, [str(name) for name in composed if name != "hydra"]))


@contextmanager
def readable_hydra_errors() -> Iterator[None]:
    """Turn Hydra's composition errors into one sentence: key or group, value, what is allowed."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except YAMLError as error:
        raise ConfigError(f"a configuration file is no YAML: {' '.join(str(error).split())}.") from error
    except HydraException as error:
        raise ConfigError(_sentence(error)) from error
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    except ValueError as error:  # what Hydra says to group=null
        raise ConfigError(f"{error}: choose an option, as in group=option.") from error


def _sentence(error: Exception) -> str:
    text = str(error)
    if match := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, option = match.group(1).rpartition("/")
        listed = re.search(r"Available options in '.*':\n((?:\t.*\n?)+)", text)
        shipped = sorted(path.stem for path in (configuration_folder() / group).glob("*.yaml"))
        allowed = ", ".join(listed.group(1).split() if listed else shipped)
        if group == "hydra/launcher":
            allowed += "; others come with pip install 'medcritical[launchers]'"
        return f"{group}={option} is not available: choose one of {allowed}."
    if match := re.search(r"Could not override '([^']+)'\.\s*No match in the defaults list", text):
        return unknown_key(match.group(1))
    if match := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(match.group(1))
    cause = error.__cause__
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(cause, OmegaConfBaseException):
        return explain(cause)
    return " ".join(text.split())
