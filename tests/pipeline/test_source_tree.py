"""The commit that a program runs from, in checkouts made for it."""

import subprocess
from pathlib import Path

import pytest

from medcritical.pipeline.source_tree import commit_of


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A file of a package that is committed, with configuration and documents beside it."""
    for name in ("src/package/__init__.py", "conf/config.yaml", "docs/page.md"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1\n", encoding="utf-8")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "all")
    return tmp_path / "src/package/__init__.py"


def test_a_clean_checkout_is_its_commit(package: Path) -> None:
    assert commit_of(package) == git(package.parent, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize(
    ("changed", "is_modified"),
    [
        ("src/package/__init__.py", True),
        ("conf/config.yaml", True),
        ("src/package/new.py", True),
        ("docs/page.md", False),
    ],
)
def test_what_decides_results_makes_it_modified(package: Path, tmp_path: Path, changed: str, is_modified: bool) -> None:
    (tmp_path / changed).write_text("2\n", encoding="utf-8")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert commit_of(package) == (f"{commit} modified" if is_modified else commit)


def test_a_package_installed_into_another_checkout_is_none_of_it(package: Path, tmp_path: Path) -> None:
    installed = tmp_path / ".venv/site-packages/package/__init__.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("", encoding="utf-8")
    assert commit_of(installed) is None


def test_outside_a_checkout_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "__init__.py").write_text("", encoding="utf-8")
    assert commit_of(tmp_path / "__init__.py") is None


def test_without_git_there_is_none(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit_of(package) is None
