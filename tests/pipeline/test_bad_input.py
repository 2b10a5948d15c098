"""What a user can get wrong, through the real command: exit code 2, one sentence, no traceback, no half artefact.

The first stages, prepare and student, meet most of it, so that a run that fails costs little.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from medcritical.errors import ArtefactError
from medcritical.store import ArtefactRef, Store

COMMAND = [sys.executable, "-c", "from medcritical.cli.main import main; main()"]
OWN_DATA = [
    "data=jsonl",
    "data.files.test=[own.jsonl]",
    "data.split=seeded",
    "data.contamination=null",  # the questions are made from one pattern
    "data.sizes.dev=2",
    "data.sizes.test=4",
    "teacher=recorded",
    "teacher.files=[traces.json]",
    "student=qwen2_5_7b",
    f"student.revision={'a' * 40}",  # a commit is looked up nowhere
    "template=detailed_en",
    "sft=pretrained",
    "dpo=pretrained",
    "trainer=pretrained",
    "generation=chat",
    "arm=dpo_self",
]
SMALL_CLINIC = [
    "experiments=toy",
    "data.sizes={train: 60, dev: 1, test: 4}",
    "sft.templates=20",
    "sft.correction.questions=10",
    "selfplay.questions=10",
]


class Ended(NamedTuple):
    """How a command ended, and the folder it was run in."""

    code: int
    err: str
    folder: Path

    def refusal(self) -> str:
        """The sentence it was refused with, once all that holds for every refusal is checked."""
        assert self.code == 2, self.err
        assert "Traceback" not in self.err
        assert "defect" not in self.err
        *before, last = self.err.splitlines()
        assert not any(line.startswith("error: ") for line in before)
        assert last.startswith("error: ")
        assert half_artefacts(self.folder / "outputs" / "store") == []
        return last.removeprefix("error: ")


class Run(Protocol):
    """Runs the command in a folder of its own."""

    def __call__(self, *arguments: str, prefix: tuple[str, ...] = (), **environment: str) -> Ended: ...


def half_artefacts(store: Path) -> list[Path]:
    """What an unfinished stage has left: folders without a manifest, files without their name."""
    folders = [path for path in store.glob("*/*") if path.is_dir() and not (path / "manifest.json").is_file()]
    return folders + list(store.rglob("*.partial"))


@pytest.fixture
def medcritical(tmp_path: Path) -> Run:
    """The command where `own.jsonl` holds twenty questions and `traces.json` what a teacher wrote to four."""
    write_questions(tmp_path / "own.jsonl")
    traces = [
        {
            "question": f"Which organ hurts in case {number}?",
            "options": {"A": "liver", "B": "heart"},
            "answer": "heart",
            "answer_idx": "B",
            "Complex_CoT": "Chest pain points at the heart.",
            "Response": "It is the heart: B.",
        }
        for number in range(4)
    ]
    (tmp_path / "traces.json").write_text(json.dumps(traces), encoding="utf-8")

    def run(*arguments: str, prefix: tuple[str, ...] = (), **environment: str) -> Ended:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("MEDCRITICAL", "HYDRA", "HF"))
        }
        done = subprocess.run(
            [*prefix, *COMMAND, *arguments],
            cwd=tmp_path,
            env={**inherited, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ended(done.returncode, done.stderr, tmp_path)

    return run


def write_questions(path: Path, without_answer: int | None = None) -> None:
    """Twenty questions of the user's own; record `without_answer` has none."""
    rows = [
        {"id": f"q{number}", "stem": f"Which drug helps in case {number}?", "options": {"A": "x", "B": "y"}}
        | ({} if number == without_answer else {"answer": "B"})
        for number in range(1, 21)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


@pytest.fixture
def without_privilege() -> tuple[str, ...]:
    """A prefix under which file permissions hold, for root too."""
    if os.geteuid() != 0:
        return ()
    prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("root may read and write everything, and cannot give that up here")
    return prefix


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts an empty file system of so many KiB, in place of the one before."""
    folder = tmp_path / "outputs" / "store"
    folder.mkdir(parents=True)

    def unmount() -> None:
        if folder.is_mount():
            subprocess.run(["umount", folder], check=True)

    def make(kibibytes: int) -> Path:
        unmount()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("a full disk needs the right to mount one")
        return folder

    yield make
    unmount()


def test_a_missing_data_file(medcritical: Run) -> None:
    ended = medcritical(*OWN_DATA, "data.files.test=[none.jsonl]")
    assert ended.refusal() == "none.jsonl (data.files) does not exist: set data.files to where it lies."
    assert sorted(path.name for path in ended.folder.iterdir()) == ["own.jsonl", "traces.json"]


def test_an_empty_data_file(medcritical: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    ended = medcritical(*OWN_DATA, "data.files.test=[empty.jsonl]")
    assert ended.refusal() == "prepare (questions) failed: empty.jsonl is empty."


def test_an_unreadable_data_file(medcritical: Run, tmp_path: Path, without_privilege: tuple[str, ...]) -> None:
    (tmp_path / "own.jsonl").chmod(0)
    ended = medcritical(*OWN_DATA, prefix=without_privilege)
    assert ended.refusal() == "own.jsonl cannot be read: Permission denied; mend its permissions."


def test_an_unreadable_model(medcritical: Run, tmp_path: Path, without_privilege: tuple[str, ...]) -> None:
    (tmp_path / "model").mkdir(mode=0)
    ended = medcritical(*OWN_DATA, f"student.source={tmp_path / 'model'}", prefix=without_privilege)
    assert "model cannot be read: Permission denied" in ended.refusal()


def test_a_row_without_answer_stops_a_strict_run(medcritical: Run, tmp_path: Path) -> None:
    write_questions(tmp_path / "own.jsonl", without_answer=3)
    ended = medcritical(*OWN_DATA, "data.on_error=fail")
    assert ended.refusal() == (
        "prepare (questions) failed: own.jsonl:3: no answer. Mend the record or set data.on_error=reject."
    )


def test_a_row_without_answer_is_left_out_and_counted_and_a_folder_is_no_model(
    medcritical: Run, tmp_path: Path
) -> None:
    write_questions(tmp_path / "own.jsonl", without_answer=3)
    (tmp_path / "model").mkdir()
    ended = medcritical(*OWN_DATA, "data.on_error=reject", f"student.source={tmp_path / 'model'}")
    assert ended.refusal() == f"student (base student) failed: {tmp_path / 'model'} is no model: it has no config.json"
    (manifest,) = (tmp_path / "outputs" / "store").glob("prepare/*/manifest.json")
    facts = json.loads(manifest.read_text(encoding="utf-8"))["facts"]
    assert sum(facts["questions"].values()) == 19
    (report,) = facts["load_reports"]
    assert (report["read"], report["accepted"]) == (20, 19)
    assert report["rejected"] == [{"record": 3, "reason": "no answer"}]


def test_a_hugging_face_id_that_cannot_be_reached(medcritical: Run) -> None:
    ended = medcritical(*OWN_DATA)
    said = ended.refusal()
    assert said.startswith("answer (base) failed: Qwen/Qwen2.5-7B-Instruct cannot be loaded")
    assert said.endswith("; check the name, the network and access, or give a local folder")
    assert ".;" not in said


def test_a_store_that_may_not_be_written(medcritical: Run, tmp_path: Path, without_privilege: tuple[str, ...]) -> None:
    store = tmp_path / "outputs" / "store"
    store.mkdir(parents=True)
    store.chmod(0o555)
    said = medcritical(*SMALL_CLINIC, prefix=without_privilege).refusal()
    assert said.startswith(f"cannot write {store}/"), "before a worker starts"
    assert ": no permission to write there" in said
    assert "set paths.store (MEDCRITICAL_STORE)" in said
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["one run", "sweep"])
def test_outputs_that_may_not_be_written(
    medcritical: Run, tmp_path: Path, without_privilege: tuple[str, ...], sweep: list[str]
) -> None:
    (tmp_path / "outputs").mkdir(mode=0o555)
    said = medcritical(*sweep, *SMALL_CLINIC, prefix=without_privilege).refusal()
    assert re.match(r"cannot write \S*outputs/", said)
    assert "paths.outputs" in said
    assert list((tmp_path / "outputs").iterdir()) == []


def test_outputs_where_no_folder_can_be_made(medcritical: Run) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc")
    said = medcritical(*SMALL_CLINIC, "paths.outputs=/proc/nowhere").refusal()
    assert said.startswith("cannot write /proc/nowhere: no folder can be made there; set paths.store and paths.outputs")


@pytest.mark.parametrize("prefix", [(), ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")], ids=["shell", "background"])
def test_a_disk_that_fills_while_a_checkpoint_is_saved(
    medcritical: Run, make_disk: Callable[[int], Path], prefix: tuple[str, ...]
) -> None:
    """The questions fit, the weights, which safetensors writes, do not. A second worker is stopped, and says no more."""
    store = make_disk(200)
    said = medcritical(*SMALL_CLINIC, prefix=prefix).refusal()
    assert said.startswith(f"student (base student) failed: cannot write {store / 'student'}")
    assert "the disk is full; free space, or set paths.store (MEDCRITICAL_STORE)" in said
    assert len(list(store.glob("prepare/*/manifest.json"))) == 1


def test_wherever_in_a_checkpoint_the_disk_fills(tmp_path: Path, make_disk: Callable[[int], Path]) -> None:
    """Weights, configuration and tokenizer are written by three libraries, each with errors of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from medcritical.modeling.checkpoint import save_checkpoint
    from medcritical.modeling.word_tokenizer import build_word_tokenizer

    tokenizer = build_word_tokenizer([f"word{number}" for number in range(2000)])
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **shape))
    save_checkpoint(tmp_path / "whole", model, tokenizer)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    assert sizes["model.safetensors"] > 40_000
    assert sizes["tokenizer.json"] > 40_000
    whole = sum(-(-size // 4096) * 4 for size in sizes.values())
    ref = ArtefactRef(stage="student", key="0" * 64)
    for kibibytes in range(4, whole, 12):
        store = Store(make_disk(kibibytes))
        with pytest.raises(ArtefactError, match="the disk is full"), store.build(ref) as folder:
            save_checkpoint(folder, model, tokenizer)
        assert not store.folder(ref).exists()


def test_a_log_on_a_full_disk_hides_no_sentence(medcritical: Run, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    (tmp_path / "empty.jsonl").touch()
    said = medcritical(*OWN_DATA, "data.files.test=[empty.jsonl]").refusal()
    (log,) = (tmp_path / "outputs").glob("*/worker.log")
    log.unlink()
    log.symlink_to("/dev/full")
    assert medcritical(*OWN_DATA, "data.files.test=[empty.jsonl]").refusal() == said


def test_debugging_shows_the_traceback_of_the_stage_too(medcritical: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    ended = medcritical(*OWN_DATA, "data.files.test=[empty.jsonl]", MEDCRITICAL_DEBUG="1")
    assert ended.code == 2
    assert "StageFailed: prepare (questions) failed: empty.jsonl is empty." in ended.err
    assert 'stages/prepare.py", line' in ended.err
    assert "medcritical.errors.DataError: empty.jsonl is empty." in ended.err
    assert ended.err.splitlines()[-1] == "error: prepare (questions) failed: empty.jsonl is empty."
