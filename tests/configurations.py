"""Configurations that tests of several packages start from."""

from functools import lru_cache

from omegaconf import DictConfig, OmegaConf

from medcritical.cli.compose import configuration_folder, hydra_initialized
from medcritical.config.load import load_config
from medcritical.config.schema import Config

REAL = (
    "data=medqa",
    "teacher=recorded",
    "student=smollm2_135m",
    "template=detailed_en",
    "sft=pretrained",
    "dpo=pretrained",
    "generation=chat",
)
"""Real questions, recorded traces and a pretrained student: what goes with any data set but the clinic."""

ASKED = (
    "data=medqa",
    "teacher=engine",
    "teacher.engine.url=http://127.0.0.1:8000/v1",
    "teacher.engine.model=m",
    "student=smollm2_135m",
    "template=two_level_en",
    "sft=pretrained",
    "dpo=pretrained",
    "generation=chat",
)
"""As REAL, with a teacher that is asked."""

_GROUPS = {path.name for path in configuration_folder().iterdir() if path.is_dir()} | {
    "data/world",
    "experiments",
}


def configure(*overrides: str) -> Config:
    """The checked configuration of these overrides: as `check_overrides`, with one composition per choice of groups."""
    names = [override.partition("=")[0] for override in overrides]
    is_group = [name in _GROUPS or "@" in name for name in names]
    composed = _compose(tuple(item for item, chooses in zip(overrides, is_group, strict=True) if chooses))
    values = [item.lstrip("+") for item, chooses in zip(overrides, is_group, strict=True) if not chooses]
    return load_config(OmegaConf.merge(composed, OmegaConf.from_dotlist(values)))  # type: ignore[arg-type]


@lru_cache
def _compose(groups: tuple[str, ...]) -> DictConfig:
    from hydra import compose

    with hydra_initialized():
        composed = compose("config", list(groups))
    OmegaConf.set_struct(composed, False)
    return composed
