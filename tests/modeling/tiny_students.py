"""Configurations of tiny students."""

from medcritical.config.choices import StudentKind
from medcritical.config.schema import ArchitectureConfig, LoraConfig, StudentConfig

WORDS = ("<plan>", "</plan>", "fever", "rash", "A", "B", ".", "'s", "n't", ",", "?")


def scratch_config(**changes: int | float) -> StudentConfig:
    shape = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24}
    architecture = ArchitectureConfig(**{**shape, "max_position_embeddings": 64, "initializer_range": 0.05, **changes})
    return student_config(StudentKind.scratch, "", architecture=architecture)


def student_config(
    kind: StudentKind,
    source: str,
    architecture: ArchitectureConfig | None = None,
    lora: LoraConfig | None = None,
    trust_remote_code: bool = False,
) -> StudentConfig:
    return StudentConfig("tiny", kind, source, "", trust_remote_code, architecture, lora)
