"""What was published of rows of a run, beside the settings of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from medcritical.config.schema import BaselineConfig, Config, TemplateConfig
from medcritical.config.stages import AnswerStage, PublishedValue
from medcritical.pipeline import scoring_slices


def published_values(config: Config) -> Iterator[PublishedValue]:
    """What was published of rows of this run: of its baselines, and what the experiment says of itself."""
    experiment = config.experiment
    if experiment.row:
        yield PublishedValue(
            arm=experiment.row,
            accuracy=experiment.published,
            source=experiment.source,
            fidelity=experiment.fidelity,
            settings=_settings(config, config.template, scoring_slices.answers(config, config.seed)),
        )
    for name, baseline in config.baselines.items():
        yield _of_baseline(config, name, baseline)


def _of_baseline(config: Config, name: str, baseline: BaselineConfig) -> PublishedValue:
    settings = _settings(config, baseline.template, scoring_slices.baseline_answers(config, baseline))
    return PublishedValue(name, baseline.published, baseline.source, "official", settings)


def _settings(config: Config, template: TemplateConfig, stage: AnswerStage) -> str:
    sampled = f"temperature {stage.temperature:g}, top_p {stage.top_p:g}" if stage.temperature > 0 else "greedy"
    verifier = "exact letters" if config.verifier.judge is None else f"judge {config.verifier.judge.name}"
    asked = f"template {template.name}" + ("" if stage.chat_template else " without the chat template")
    return f"{config.data.name} {stage.split}, {asked}, {sampled}, {stage.max_new_tokens} tokens, {verifier}"
