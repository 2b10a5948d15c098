"""The `medcritical` command as a person meets it: exit codes, sentences, how soon it answers. Nothing is run here."""

import importlib.metadata
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

SECONDS = 3.0  # about 1 on an idle machine

COMMAND = """
import sys
from medcritical.cli.main import main
try:
    main()
finally:
    heavy = {"torch", "transformers", "lightning", "peft", "wandb", "matplotlib"} & set(sys.modules)
    print("loaded:", *sorted(heavy), end=".\\n", file=sys.stderr)
"""


class Ended(NamedTuple):
    """How a command ended. `loaded` are the heavy libraries it imported."""

    code: int
    out: str
    err: str
    loaded: str
    seconds: float


def children_seconds() -> float:
    """CPU seconds of all processes waited for so far: unlike wall time they do not depend on what else runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def medcritical(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs the command in an empty folder."""

    def run(*arguments: str, **environment: str) -> Ended:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MEDCRITICAL", "HYDRA"))}
        start = children_seconds()
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=tmp_path,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        seconds = children_seconds() - start
        loaded = re.search(r"^loaded: ?(.*)\.\n", done.stderr, re.MULTILINE)
        assert loaded is not None, done.stderr
        with capsys.disabled():
            print(f"[{seconds:.2f} s]", end="", flush=True)
        return Ended(done.returncode, done.stdout, done.stderr.replace(loaded.group(), ""), loaded.group(1), seconds)

    return run


def test_help(medcritical) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("--help")
    assert (ended.code, ended.err, ended.loaded) == (0, "", "")
    assert "data/world: easy, hard" in ended.out
    assert "\nexperiments: base, baselines, " in ended.out
    assert "\nsweeps: arms_seeds, beta_iterations, " in ended.out
    assert ended.seconds < SECONDS


def test_version(medcritical) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("--version")
    assert (ended.code, ended.out) == (0, f"medcritical {importlib.metadata.version('medcritical')}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("selfplay.bta=3", "selfplay.bta is no configuration key: did you mean selfplay.beta?"),
        ("selfplay.beta=-1", "selfplay.beta=-1 is out of range: it must be greater than 0."),
        (
            "teacher=gpt",
            "teacher=gpt is not available: choose one of engine, explanations_zh, oracle, own_traces, recorded.",
        ),
        ("--cfg job foo", "foo is no override: overrides look like group=option or key=value."),
        ("seed=1,2", "seed=1,2 names 2 values: add -m to sweep over them."),
        ("-m selfplay.beta=0.1,-2", "in cell selfplay.beta=-2: selfplay.beta=-2 is out of range"),
        (
            "-m seed=1,2 arm=[dpo_self,rejection_sft_seconds] cluster.workers=1 hydra/launcher=joblib",
            "arms.rejection_sft_seconds is matched by seconds, and hydra/launcher=joblib may run other cells",
        ),
        *(
            (
                f"-m seed=1,2 arm=[dpo_self,rejection_sft_seconds] cluster.workers=1 {launcher}",
                "arms.rejection_sft_seconds is matched by seconds",
            )
            for launcher in ("hydra/launcher=submitit_slurm", "hydra/launcher=joblib hydra.launcher.n_jobs=1")
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_before_anything_runs(  # type: ignore[no-untyped-def]
    medcritical, tmp_path: Path, arguments: str, said: str
) -> None:
    ended = medcritical(*arguments.split())
    assert ended.code == 2
    assert ended.err.startswith(f"error: {said}")
    assert "Traceback" not in ended.err
    assert (ended.out, ended.loaded) == ("", "")
    assert ended.seconds < SECONDS
    assert list(tmp_path.iterdir()) == []


def test_a_missing_data_file_is_named_with_its_key(medcritical) -> None:  # type: ignore[no-untyped-def]
    real = ["data=medqa", "teacher=recorded", "student=smollm2_135m", "template=detailed_en", "generation=chat"]
    ended = medcritical(*real, "sft=pretrained", "dpo=pretrained")
    assert (ended.code, ended.loaded) == (2, "")
    assert ended.err.startswith(
        "error: data/medqa/US/train.jsonl (data.files) does not exist: run `medcritical data fetch medqa"
    )


def test_an_unknown_flag_is_refused(medcritical) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("--quick")
    assert ended.code == 2
    assert "unrecognized arguments: --quick" in ended.err


def test_debugging_shows_where_it_went_wrong(medcritical) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("selfplay.beta=-1", MEDCRITICAL_DEBUG="1")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert "ConfigError: selfplay.beta=-1 is out of range" in ended.err
    assert ended.err.splitlines()[-1].startswith("error: selfplay.beta=-1 is out of range")


def test_cfg_prints_the_whole_configuration(medcritical) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("--cfg", "job", "selfplay.beta=0.25")
    assert (ended.code, ended.err, ended.loaded) == (0, "", "")
    printed = yaml.safe_load(ended.out)
    assert printed["selfplay"]["beta"] == 0.25
    assert next(iter(printed["arms"])) == "dpo_self"
    assert "hydra" not in printed


def test_cfg_prints_one_package(medcritical) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("--cfg", "job", "--package", "sft")
    assert ended.code == 0
    assert yaml.safe_load(ended.out)["templates"] == 120


def test_info_says_where_settings_come_from(medcritical) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("--info", "defaults")
    assert (ended.code, ended.loaded) == (0, "")
    assert "template/clinic" in ended.out


def test_a_plan_is_printed_and_nothing_is_made(medcritical, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("plan=true", "arm=dpo_self", "selfplay.iterations=1")
    assert (ended.code, ended.err, ended.loaded) == (0, "", "")
    told, _, planned = ended.out.partition("run   prepare/")
    assert told.startswith("medcritical (fidelity: corrected)\n  dpo_self: MedCritical (self-correction DPO)\n")
    assert "compare.at=steps" in told
    assert "loss of a step: [sum over pairs(-log sigmoid(0.1 * " in told
    lines = f"run   prepare/{planned}".splitlines()
    assert all(line.startswith("run ") for line in lines[:-1])
    assert f"{len(lines) - 1} stages: 0 done, {len(lines) - 1} to run" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_every_cell_of_a_sweep_is_planned(medcritical, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ended = medcritical("-m", "plan=true", "arm=dpo_self", "selfplay.iterations=1", "selfplay.beta=0.1,0.2")
    assert ended.code == 0
    assert ended.err == ""
    assert ended.out.count("18 stages: 0 done, 18 to run, ") == 2
    assert "TOTAL over 2 cells, shared stages once: 22 stages (36 if nothing were shared)" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_ones_own_experiments_lie_in_the_working_folder(medcritical, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.yaml").write_text("# @package _global_\nseed: 77\n", encoding="utf-8")
    assert yaml.safe_load(medcritical("--cfg", "job", "experiments=mine").out)["seed"] == 77


def test_a_file_that_is_no_yaml_is_named(medcritical, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.yaml").write_text("# @package _global_\nseed: [1\n", encoding="utf-8")
    ended = medcritical("experiments=mine")
    assert ended.code == 2
    assert "mine.yaml" in ended.err
    assert "Traceback" not in ended.err


def test_a_store_that_cannot_be_written_is_said(medcritical, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").touch()
    ended = medcritical("arm=dpo_self", "selfplay.iterations=1", f"paths.outputs={tmp_path / 'file'}")
    assert (ended.code, ended.loaded) == (2, "")
    assert ended.err.startswith("error: cannot write ")
    assert "paths.outputs" in ended.err
