"""student: where the model comes from -> the base checkpoint, in the one form that every later stage loads."""

from __future__ import annotations

import re

from medcritical.config.choices import StudentKind
from medcritical.config.packaged import PACKAGE
from medcritical.config.stages import StudentStage
from medcritical.modeling.student import create_student
from medcritical.stages.context import Inputs, Output
from medcritical.stages.environment import GGUF, MODELS
from medcritical.world import load_knowledge, vocabulary


def run(config: StudentStage, inputs: Inputs, output: Output) -> None:
    """Write the checkpoint of the untrained student. A scratch student knows the clinic's words and the template's."""
    words = None
    if config.student.kind is StudentKind.scratch:
        around_data = [word for text in config.words for word in re.sub(r"\{\w+\}", " ", text).split()]
        words = list(dict.fromkeys([*around_data, *vocabulary(load_knowledge())]))
    output.facts.update(create_student(config.student, words, output.folder, config.seed))
    output.computed.packages.update(MODELS, GGUF if config.student.source.startswith(PACKAGE) else ())
    if "parameters" in output.facts:
        output.facts["shown"] = [f"{output.facts['parameters']:,} parameters"]
