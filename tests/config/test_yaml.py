"""Every YAML that ships is composed, checked and planned, and says what it says."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from configurations import ASKED, REAL
from medcritical.cli.compose import check_overrides, configuration_folder
from medcritical.config.load import to_plain
from medcritical.config.schema import Config
from medcritical.pipeline.plan import make_plan

ROOT = configuration_folder().parent
FILES_PER_FOLDER = {
    "conf/arm": 14,
    "conf/baseline": 5,
    "conf/cluster": 3,
    "conf/data": 9,
    "conf/data/world": 2,
    "conf/dpo": 2,
    "conf/engine": 6,
    "conf/evaluation": 1,
    "conf/generation": 2,
    "conf/logger": 2,
    "conf/paths": 1,
    "conf/report": 2,
    "conf/selfplay": 3,
    "conf/sft": 2,
    "conf/strategy": 7,
    "conf/student": 3,
    "conf/sweep": 2,
    "conf/teacher": 5,
    "conf/template": 6,
    "conf/trainer": 2,
    "conf/verifier": 3,
    "experiments": 28,
    "sweeps": 7,
}
CELLS = {
    "sweeps/arms_seeds.yaml": 25,
    "sweeps/beta_iterations.yaml": 9,
    "sweeps/optuna_study.yaml": 1,  # the others are asked for
    "sweeps/reference.yaml": 4,
    "sweeps/seeds.yaml": 5,
    "sweeps/template_level.yaml": 4,
    "sweeps/worlds.yaml": 5,
}
CPU = ("trainer.accelerator=cpu",)
PARTNERS: dict[str, Sequence[str]] = {
    "arm/rejection_sft_tokens": ["arm=[dpo_self,rejection_sft_tokens]"],
    "arm/rejection_sft_seconds": ["arm=[dpo_self,rejection_sft_seconds]", "cluster.workers=1"],
    **{f"arm/{name}": [f"arm={name}", "sft.correction_form=both"] for name in ("dpo_step", "dpo_mix")},
    "baseline/any": ["baselines.any.student.source=some/model"],
    "data/medqa": REAL,
    "data/cmexam": REAL,
    "data/medmcqa": REAL,
    "data/pubmedqa": REAL,
    "data/mmlu": REAL,
    "data/mmlu_pro": REAL,
    "data/huatuo": REAL,
    "data/jsonl": [
        *REAL,
        "data.files.train=[mine.jsonl]",
        "data.split=seeded",
        "data.sizes.dev=10",
        "data.sizes.test=50",
    ],
    "student/smollm2_135m": ["sft=pretrained", "dpo=pretrained"],
    "student/qwen2_5_7b": ["sft=pretrained", "dpo=pretrained"],
    "teacher/recorded": REAL,
    "teacher/own_traces": [*REAL, "teacher.files=[mine.jsonl]"],
    "generation/chat": REAL,
    "selfplay/gated": ["arm=[dpo_self,rejection_sft]"],
    "sweep/study": ["evaluation.split=dev"],
    **{
        f"strategy/{name}": ["cluster=torchrun", "cluster.nproc_per_node=2"]
        for name in ("ddp", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
    },
    "report/priced": ["report.prices.teacher.prompt=0.5", "report.prices.teacher.completion=2"],
    **{f"verifier/{name}": ["verifier.judge.engine.model=some/judge"] for name in ("judge", "judge_zh")},
    "teacher/explanations_zh": [*REAL, "template=paper_zh"],
    "teacher/engine": ASKED,
    **{f"engine/{name}": [*REAL, *CPU] for name in ("vllm", "sglang", "llama_server", "transformers_serve")},
    "engine/server": [*REAL, "engine.url=http://127.0.0.1:8000/v1", "engine.serves_checkpoint=true"],
}
"""What an option needs beside it, where the defaults do not go with it."""


def files_that_ship() -> list[Path]:
    found = [path for folder in ("conf", "experiments", "sweeps") for path in (ROOT / folder).rglob("*.yaml")]
    return sorted(path.relative_to(ROOT) for path in found if path != ROOT / "conf" / "config.yaml")


def selecting(path: Path) -> Sequence[str]:
    """The overrides that bring one file into the configuration."""
    group, option = path.parent.as_posix().removeprefix("conf/"), path.stem
    partners = PARTNERS.get(f"{group}/{option}", [])
    if group == "arm" and partners:
        return partners
    return [*(partner for partner in partners if not partner.startswith(f"{group}=")), f"{group}={option}"]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Names and values of a YAML's own settings; interpolations are left out."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif "${" not in str(value):
        yield path, value


def package_of(path: Path, text: str) -> tuple[str, ...]:
    """Where the file's settings go: what its `@package` line says, else its group."""
    header = re.match(r"# @package (\S+)", text)
    package = header.group(1) if header else path.parent.as_posix().removeprefix("conf/").replace("/", ".")
    return () if package == "_global_" else tuple(package.split("."))


def assert_says(config: Config, path: Path, partners: Sequence[str] = ()) -> None:
    """The composed configuration holds every setting of the file, but for those that its partners set."""
    text = (ROOT / path).read_text(encoding="utf-8")
    settings = {name: item for name, item in yaml.safe_load(text).items() if name not in ("defaults", "hydra")}
    for name, value in leaves(settings, package_of(path, text)):
        if any(partner.startswith(f"{'.'.join(name)}=") for partner in partners):
            continue
        found: Any = to_plain(config)
        for part in name:
            found = found[part]
        assert found == value, f"{path} sets {'.'.join(name)} to {value!r}, and it is {found!r}"


def test_no_folder_is_forgotten() -> None:
    assert Counter(path.parent.as_posix() for path in files_that_ship()) == FILES_PER_FOLDER


@pytest.mark.parametrize("path", [p for p in files_that_ship() if p.parts[0] != "sweeps"], ids=str)
def test_file_is_composed_checked_and_planned(path: Path) -> None:
    (config,) = check_overrides(selecting(path))
    assert_says(config, path, selecting(path))
    calls = make_plan(config, {}).calls
    assert [calls[0].ref.stage, calls[-1].ref.stage] == ["prepare", "report"]


@pytest.mark.parametrize("path", [p for p in files_that_ship() if p.parts[0] == "sweeps"], ids=str)
def test_every_cell_of_a_sweep_is_composed_and_checked(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    params = yaml.safe_load(text)["hydra"].get("sweeper", {"params": {}})["params"]
    configs = check_overrides([f"sweeps={path.stem}"])
    assert len(configs) == CELLS[path.as_posix()]
    for config in configs:
        assert_says(config, path)
    for key, values in params.items():
        group, _, name = key.rpartition(".")
        seen = {
            next(iter(c.arms)) if key == "arm" else getattr(getattr(c, group) if group else c, name) for c in configs
        }
        assert seen == {type(value)(text) for value in seen for text in str(values).split(",")}
    assert len({make_plan(config, {}).report.ref for config in configs}) == len(configs)


def test_a_sweep_given_with_other_overrides_is_checked_whole() -> None:
    configs = check_overrides(["sweeps=beta_iterations", "seed=4,5"])
    assert sorted((config.seed, config.selfplay.beta) for config in configs) == [
        (seed, beta) for seed in (4, 5) for beta in (0.05, 0.1, 0.3) for _ in (1, 2, 3)
    ]
