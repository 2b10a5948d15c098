"""The typed schema of the whole configuration, one dataclass per Hydra group.

Plain dataclasses (OmegaConf cannot freeze nested ones); nobody changes a config after loading.
Closed choices are enums (choices.py). A group that may be absent is Optional and null in YAML.
"""

from __future__ import annotations

from dataclasses import dataclass

from medcritical.config.fields import key
from medcritical.config.schema.loop import (
    ArmConfig,
    CompareConfig,
    FilterConfig,
    GateConfig,
    GenerationConfig,
    SelfPlayConfig,
)
from medcritical.config.schema.models import (
    ArchitectureConfig,
    EngineConfig,
    LoraConfig,
    StudentConfig,
    TeacherConfig,
    TeacherSamplingConfig,
    TemplateConfig,
)
from medcritical.config.schema.questions import DataConfig, DataFiles, SplitSizes, WorldConfig
from medcritical.config.schema.running import (
    ExperimentConfig,
    LoggerConfig,
    PathsConfig,
    PricesConfig,
    ReportConfig,
    StudyConfig,
    StudyRange,
    SweepConfig,
    TokenPrice,
)
from medcritical.config.schema.scoring import BaselineConfig, EvaluationConfig, JudgeConfig, VerifierConfig
from medcritical.config.schema.training import (
    ClusterConfig,
    DpoConfig,
    LossConfig,
    OptimConfig,
    SftConfig,
    SftCorrectionConfig,
    StrategyConfig,
    TrainerConfig,
)

__all__ = [
    "ArchitectureConfig",
    "ArmConfig",
    "BaselineConfig",
    "ClusterConfig",
    "CompareConfig",
    "Config",
    "DataConfig",
    "DataFiles",
    "DpoConfig",
    "EngineConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "FilterConfig",
    "GateConfig",
    "GenerationConfig",
    "JudgeConfig",
    "LoggerConfig",
    "LoraConfig",
    "LossConfig",
    "OptimConfig",
    "PathsConfig",
    "PricesConfig",
    "ReportConfig",
    "SelfPlayConfig",
    "SftConfig",
    "SftCorrectionConfig",
    "SplitSizes",
    "StrategyConfig",
    "StudentConfig",
    "StudyConfig",
    "StudyRange",
    "SweepConfig",
    "TeacherConfig",
    "TeacherSamplingConfig",
    "TemplateConfig",
    "TokenPrice",
    "TrainerConfig",
    "VerifierConfig",
    "WorldConfig",
]


@dataclass
class Config:
    """The whole configuration: what `medcritical --cfg job` prints."""

    name: str = key("run name, the first part of its output folder")
    seed: int = key("what training draws: initial weights, samples, order; see also data.seed and teacher.seed", ge=0)
    plan: bool = key("print what is done and what would run, then stop", semantic=False)
    paths: PathsConfig = key("folders", semantic=False)
    data: DataConfig = key("questions")
    teacher: TeacherConfig = key("thought templates")
    student: StudentConfig = key("model")
    template: TemplateConfig = key("prompts and formats")
    sft: SftConfig = key("stage 1")
    selfplay: SelfPlayConfig = key("stage 2")
    dpo: DpoConfig = key("preference loss")
    arms: dict[str, ArmConfig] = key("experiments that share this run")
    baselines: dict[str, BaselineConfig] = key("published models, evaluated on the same questions")
    compare: CompareConfig = key("what arms share")
    experiment: ExperimentConfig = key("what an overlay says of itself")
    engine: EngineConfig = key("who runs the student when it answers")
    generation: GenerationConfig = key("sampling")
    verifier: VerifierConfig = key("right or wrong")
    evaluation: EvaluationConfig = key("scoring")
    trainer: TrainerConfig = key("machine")
    strategy: StrategyConfig = key("spread over devices", semantic=False)
    cluster: ClusterConfig = key("where stages run", semantic=False)
    sweep: SweepConfig = key("how cells are run", semantic=False)
    logger: LoggerConfig = key("metrics", semantic=False)
    report: ReportConfig = key("tables and figures")
