"""No dead keys: every field of the schema is read somewhere outside the package that declares and checks it.

A reading is an attribute taken from something that can hold the field's class: a name, parameter or attribute annotated
with it, a field of that type, or a name assigned from one of these. So `strategy.kind` is not excused by `teacher.kind`.
"""

import ast
import dataclasses
import enum
import re
import typing
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import medcritical
from medcritical.cli.compose import configuration_folder
from medcritical.config import choices, schema, stages

SOURCE = Path(medcritical.__file__).parent
DECLARED_ONLY = {
    "EngineConfig.serves_checkpoint",  # a promise of the user's, which config/engines.py asks for
}
"""Fields that nothing reads, `Class.field`. It should be empty: a key that changes nothing misleads its user."""

CLASSES = {name: item for name, item in vars(schema).items() if dataclasses.is_dataclass(item)}

ENUMS = [item for item in vars(choices).values() if isinstance(item, enum.EnumType) and len(item)]


def classes_in(annotation: object) -> Iterator[str]:
    """Names of the schema's classes in a type or in the text of an annotation."""
    for word in re.findall(r"\w+", str(annotation)):
        if word in CLASSES:
            yield word


def names_by_class() -> dict[str, set[str]]:
    """For each schema class the field names that hold it, in the schema and in the stages' slices."""
    holders: dict[str, set[str]] = defaultdict(set)
    for module in (schema, stages):
        for owner in vars(module).values():
            if dataclasses.is_dataclass(owner):
                for field, hint in typing.get_type_hints(owner).items():
                    for name in classes_in(hint):
                        holders[name].add(field)
    return holders


def last_name(node: ast.expr) -> str | None:
    """`sft` of `self.config.sft`, `arms` of `config.arms[name]` and of `config.arms.values()`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("values", "items", "get")
    ):
        return last_name(node.func.value)
    return node.id if isinstance(node, ast.Name) else None


def assignments(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of every plain assignment, tuples taken apart."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts, strict=True)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                for left, right in pairs:
                    if (name := last_name(left)) is not None:
                        yield name, right
        elif isinstance(node, ast.NamedExpr):
            yield node.target.id, node.value


def annotations(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(name, annotation) of parameters and annotated names; of functions and properties what they return."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.arg, ast.unparse(node.annotation)
        elif isinstance(node, ast.AnnAssign) and (name := last_name(node.target)) is not None:
            yield name, ast.unparse(node.annotation)


def fields_read(tree: ast.AST, holders: dict[str, set[str]]) -> set[str]:
    """`Class.field` for every field that a module reads from a holder of its class."""
    names = {owner: set(fields) for owner, fields in holders.items()}
    for name, annotation in annotations(tree):
        for owner in classes_in(annotation):
            names.setdefault(owner, set()).add(name)
    for _ in range(3):  # names of names
        for name, value in assignments(tree):
            for owner in names.values():
                if last_name(value) in owner:
                    owner.add(name)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            for owner, known in names.items():
                if last_name(node.value) in known and node.attr in CLASSES[owner].__dataclass_fields__:
                    found.add(f"{owner}.{node.attr}")
    return found


def fields_interpolated(text: str) -> set[str]:
    """`Class.field` for `${group.field}` in a YAML."""
    groups = typing.get_type_hints(schema.Config)
    found = re.findall(r"\$\{(\w+)\.(\w+)\}", text)
    return {f"{groups[group].__name__}.{field}" for group, field in found if group in groups}


def declared() -> set[str]:
    """`Class.field` of the schema; inherited fields belong to the class that declares them."""
    return {f"{name}.{field}" for name, item in CLASSES.items() for field in item.__annotations__}


def read_fields() -> set[str]:
    holders, found = names_by_class(), set()
    for path in SOURCE.rglob("*.py"):
        if path.parent.name != "config":
            found |= fields_read(ast.parse(path.read_text(encoding="utf-8")), holders)
    for path in configuration_folder().rglob("*.yaml"):
        found |= fields_interpolated(path.read_text(encoding="utf-8"))
    inherited = {
        f"{base.__name__}.{name.split('.')[1]}" for name in found for base in CLASSES[name.split(".")[0]].__mro__
    }
    return found | inherited


def test_every_field_is_read() -> None:
    assert len(declared()) > 100
    assert declared() - read_fields() == DECLARED_ONLY


def test_a_dead_field_is_found_out() -> None:
    text = "def run(config: StrategyConfig, teacher: TeacherConfig):\n    loop = config\n    return teacher.kind"
    assert fields_read(ast.parse(text), {}) == {"TeacherConfig.kind"}
    assert fields_read(ast.parse(text.replace("teacher.kind", "loop.kind")), {}) == {"StrategyConfig.kind"}


@pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: kind.__name__)
def test_every_choice_but_one_is_asked_for_by_name(kind: type[enum.Enum]) -> None:
    """The last choice is what `else` does; a second one that no code asks for would do silently the same."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py") if path.name != "choices.py")
    unnamed = [choice.name for choice in kind if f"{kind.__name__}.{choice.name}" not in text]
    assert len(unnamed) <= 1, unnamed
