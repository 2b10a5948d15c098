"""The wheel, installed elsewhere and run from an empty folder: it must bring its own configuration along."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = [["plan=true"], ["experiments=toy", "plan=true"], ["sweeps=beta_iterations", "plan=true"]]
WHERE = """
import medcritical
from medcritical.cli.compose import configuration_folder
print(medcritical.__file__, configuration_folder().parent, sep="\\n")
"""


def run(*command: str | Path, cwd: Path, site: Path | None = None) -> str:
    """What a command that must succeed prints; with `site` its packages come before those of this interpreter."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MEDCRITICAL", "PYTHONPATH"))
    }
    environment = inherited if site is None else {**inherited, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def plan_in(printed: str) -> list[str]:
    """The lines of the plan, without those that Hydra begins a cell of a sweep with: they hold the time."""
    return [line for line in printed.splitlines() if not line.startswith("[")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built wheel installed in it, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=REPOSITORY)
    (wheel,) = folder.glob("*.whl")
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
        "--no-compile",
    ]
    run(*install, "--target", folder / "site", wheel, cwd=folder)
    return folder / "site"


def test_the_installed_package_is_the_one_that_runs(site: Path, tmp_path: Path) -> None:
    package, configuration = map(Path, run("-c", WHERE, cwd=tmp_path, site=site).splitlines())
    assert package == site / "medcritical" / "__init__.py"
    assert configuration == site / "medcritical" / "configuration"


def test_every_file_of_the_configuration_is_in_the_wheel(site: Path) -> None:
    shipped = site / "medcritical" / "configuration"
    for folder in ("conf", "experiments", "sweeps"):
        ours = {path.relative_to(REPOSITORY): path.read_bytes() for path in (REPOSITORY / folder).rglob("*.yaml")}
        assert ours
        assert {path.relative_to(shipped): path.read_bytes() for path in (shipped / folder).rglob("*.yaml")} == ours


def test_nothing_but_the_package_is_in_the_wheel(site: Path) -> None:
    (metadata,) = site.glob("medcritical-*.dist-info")
    assert {path.name for path in site.iterdir()} == {"bin", "medcritical", metadata.name}
    assert {path.name for path in (site / "bin").iterdir()} == {"medcritical"}


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_its_plan_is_that_of_the_checkout(site: Path, tmp_path: Path, arguments: list[str]) -> None:
    for folder in ("installed", "checkout"):
        (tmp_path / folder).mkdir()
    planned = plan_in(run(site / "bin" / "medcritical", *arguments, cwd=tmp_path / "installed", site=site))
    assert any(line.startswith(("run   prepare/", "to run: prepare 1")) for line in planned)
    command = ["-c", "from medcritical.cli.main import main; main()"]
    assert planned == plan_in(run(*command, *arguments, cwd=tmp_path / "checkout"))
