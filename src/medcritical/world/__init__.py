"""The synthetic clinic: a procedural world of exam vignettes with a rule oracle as teacher. Not medical advice."""

from medcritical.world.case import Case, is_clinic, read_case
from medcritical.world.knowledge import KnowledgeBase, load_knowledge, parse_knowledge, vocabulary
from medcritical.world.oracle import WrongThought, corrupt, is_sound, locate, write_template
from medcritical.world.vignettes import generate_questions, stream_questions

__all__ = [
    "Case",
    "KnowledgeBase",
    "WrongThought",
    "corrupt",
    "generate_questions",
    "is_clinic",
    "is_sound",
    "load_knowledge",
    "locate",
    "parse_knowledge",
    "read_case",
    "stream_questions",
    "vocabulary",
    "write_template",
]
