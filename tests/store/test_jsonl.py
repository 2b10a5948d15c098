"""Records on disk: whole files or none, damage named by file and line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.errors import ArtefactError
from medcritical.records import Prompt
from medcritical.store import read_json, read_records, write_json, write_records
from medcritical.store.jsonl import write_atomically

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_records_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("records") / "x.jsonl"
    records = [Prompt(system=system, user=user) for system, user in texts]
    assert write_records(path, records) == len(records)
    assert read_records(path, Prompt) == records
    assert path.read_bytes().count(b"\n") == len(records)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"system": "", "user": "x"', "truncated"),
        (b"", "truncated"),
        (b'{"system": "", "user": 3}', "user"),
        (b'{"system": ""}', "user"),
        (b'{"system": "", "user": "x", "more": 1}', "more"),
        (b'{"system": "", "user": "\xff"}', "utf-8"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"system": "", "user": "x"}\n' + line + b"\n")
    with pytest.raises(ArtefactError, match=r"x\.jsonl:2: ") as caught:
        read_records(path, Prompt)
    assert said in str(caught.value)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"x\.jsonl is missing"):
        read_records(tmp_path / "x.jsonl", Prompt)
    with pytest.raises(ArtefactError, match="cannot read"):
        read_records(tmp_path, Prompt)
    with pytest.raises(ArtefactError, match="cannot read"):
        read_json(tmp_path / "x.json", Prompt)


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_json(path, [1])
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise RuntimeError("pulled plug")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(RuntimeError, match="pulled plug"):
        write_json(path, [2] * 1000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    replace = Path.replace
    monkeypatch.setattr("os.fsync", lambda _: steps.append("synced"))
    monkeypatch.setattr(Path, "replace", lambda self, target: (steps.append("named"), replace(self, target))[1])
    write_atomically(tmp_path / "x", b"x")
    assert steps == ["synced", "named"]
