"""Every overlay that goes with the clinic, at toy size, through the real command and over one store."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medcritical.cli.compose import configuration_folder
from medcritical.reporting.summary import read_summary

COMMAND = [sys.executable, "-c", "from medcritical.cli.main import main; main()"]
FOLDER = configuration_folder().parent / "experiments"
OTHERS = {"toy", "baselines", "official", "smollm2_medqa"}
OVERLAYS = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in OTHERS)
TOY = [
    *("data/world=easy", "data.world.diagnosis=1", "data.world.test=0", "data.world.treatment=0"),
    *("data.sizes.train=600", "data.sizes.dev=20", "data.sizes.test=60", "sft.templates=200", "sft.epochs=8"),
    *("selfplay.questions=60", "dpo.steps=8"),
]
SECOND_PASS = ["sft.correction.questions=30", "sft.correction.attempts=2", "sft.correction.epochs=1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("every_arm")


@pytest.mark.slow
@pytest.mark.parametrize("name", OVERLAYS)
def test_arm_runs_on_the_clinic(name: str, root: Path) -> None:
    has_second_pass = name not in ("sft_answer", "corrections_synthetic")
    done = subprocess.run(
        [
            *(*COMMAND, f"experiments={name}", f"paths.outputs={root / 'outputs'}", *TOY),
            *(SECOND_PASS if has_second_pass else []),
        ],
        env={**os.environ, "MEDCRITICAL_STORE": str(root / "store"), "PYTHONUTF8": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1]).parent
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rows = read_summary(folder / "summary.json").rows
    assert config["experiment"]["row"] in {row.arm for row in rows}
    assert (folder / "published.md").is_file()
    assert all(row.unparsed < row.num_questions for row in rows if row.stage != "base")
