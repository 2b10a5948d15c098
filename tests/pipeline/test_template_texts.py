"""A stage reads nothing of a template that its slice leaves out: with whole templates in all slices it writes the same."""

import dataclasses
import json
from pathlib import Path

import pytest

from configurations import configure
from medcritical.config.schema import Config, TemplateConfig
from medcritical.pipeline import scoring_slices, slices
from medcritical.pipeline.execute import call_file
from medcritical.pipeline.plan import StageCall, make_plan
from medcritical.pipeline.worker import run_stage
from medcritical.stages.context import Output
from medcritical.store import Costs, Store

SMALL = (
    *("arm=[dpo_self,dpo_step,dpo_teacher,dpo_answer]", "sft.correction_form=both", "data/world=easy"),
    *("data.world.diagnosis=1", "data.world.test=0", "data.world.treatment=0", "data.world.options=2"),
    *("data.sizes.train=120", "data.sizes.dev=0", "data.sizes.test=6", "sft.templates=60", "sft.epochs=null"),
    *("sft.steps=160", "sft.synthetic_corrections=1", "sft.correction.questions=20", "sft.correction.attempts=2"),
    *("sft.correction.epochs=10", "selfplay.iterations=1", "selfplay.questions=24", "selfplay.corrector=trained"),
    *("dpo.steps=2", "dpo.warmup_steps=1"),
    *("trainer.accelerator=cpu", "trainer.precision=float32", "trainer.threads=1"),
)
CLOCKED = {"manifest.json", "metrics.jsonl"}
"""Files in which seconds stand."""

Made = dict[tuple[str, str], tuple[StageCall, dict[str, bytes]]]
"""Calls and the files that they wrote, by stage and label."""


def make_all(config: Config, root: Path) -> Made:
    """Run every stage but the report, which reads of keys and paths."""
    store, made = Store(root), Made()
    for call in make_plan(config, {}).calls[:-1]:
        with store.build(call.ref) as folder:
            output = Output(folder, config.trainer, lambda *_: None, tell=lambda _: None)
            run_stage(call_file(call), store, output)
            store.complete(call.ref, version=1, config={}, inputs=call.inputs, facts=output.facts, costs=Costs())
        folder = store.folder(call.ref)
        files = [path for path in folder.rglob("*") if path.is_file() and path.name not in CLOCKED]
        made[call.ref.stage, call.label] = call, {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Made]:
    """What stages make that are given what they read, and what they make with the whole template."""

    def whole(template: TemplateConfig, *_: str) -> TemplateConfig:
        return template

    root, config = tmp_path_factory.mktemp("texts"), configure(*SMALL)
    read = make_all(config, root / "read")
    with pytest.MonkeyPatch.context() as patched:
        for module in (slices, scoring_slices):
            patched.setattr(module, "reading", whole)
        return read, make_all(config, root / "whole")


def test_every_file_is_the_same(both: tuple[Made, Made]) -> None:
    read, whole = both
    assert list(read) == list(whole)
    for name, (_, files) in read.items():
        assert files.keys() == whole[name][1].keys(), name
        assert [file for file, content in files.items() if content != whole[name][1][file]] == [], name


def test_that_is_said_of_slices_that_leave_something_out(both: tuple[Made, Made]) -> None:
    """Each stage with a template has another one, and a text of it less."""
    read, whole = both
    with_template = {name for name, (call, _) in read.items() if hasattr(call.config, "template")}
    assert {stage for stage, _ in with_template} == {
        "teach",
        "sft",
        "play",
        "pair",
        "reference",
        "dpo",
        "answer",
        "score",
    }
    for name in with_template:
        texts = [dataclasses.asdict(made[name][0].config.template) for made in (read, whole)]  # type: ignore[attr-defined]
        assert texts[0] != texts[1], name


def test_and_of_files_with_something_in_them(both: tuple[Made, Made]) -> None:
    """Corrections of both forms, pairs of every origin, examples for a corrector, weights."""
    read, _ = both

    def records(stage: str, file: str) -> list[dict[str, object]]:
        contents = [files[file] for (made, _), (_, files) in read.items() if made == stage and file in files]
        return [json.loads(line) for content in contents for line in content.splitlines()]

    assert {correction["from_step"] is None for correction in records("play", "corrections.jsonl")} == {True, False}
    pairs = records("pair", "pairs.jsonl")
    contrasts = {pair["origin"] for pair in pairs if pair["rejected"] is not None}
    assert contrasts >= {"correction", "teacher", "answer"}
    assert any(pair["corrects"] is not None for pair in pairs)
    trained = {stage for (stage, _), (_, files) in read.items() if "model/model.safetensors" in files}
    assert trained == {"student", "sft", "dpo"}
