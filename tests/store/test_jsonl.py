"""Records on disk: whole files or none, damage named by file and line."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcritical.errors import ArtefactError
from medcritical.records import Prompt
from medcritical.store import iter_records, read_json, read_records, record_files, write_json, write_records
from medcritical.store.jsonl import append_record, read_appended, write_atomically

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


def test_a_process_of_the_same_id_on_another_host_may_write_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes while this one is about to give its file the name."""
    path, replace = tmp_path / "x.json", Path.replace

    def replace_after_the_other(self: Path, target: Path) -> Path:
        assert self.name.startswith(".x.json.")
        assert self.suffix == ".partial"
        monkeypatch.setattr(Path, "replace", replace)
        write_json(path, ["other"])
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_after_the_other)
    write_json(path, ["this"])
    assert read_json(path, list[str]) == ["this"]
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    replace = Path.replace
    monkeypatch.setattr("os.fsync", lambda _: steps.append("synced"))
    monkeypatch.setattr(Path, "replace", lambda self, target: (steps.append("named"), replace(self, target))[1])
    write_atomically(tmp_path / "x", b"x")
    assert steps == ["synced", "named"]


def test_many_records_are_cut_into_compressed_parts_that_are_read_as_one_file(tmp_path: Path) -> None:
    records = [Prompt(system="", user=str(number)) for number in range(7)]
    path, other = tmp_path / "x.jsonl", tmp_path / "again" / "x.jsonl"
    for place in (path, other):
        assert write_records(place, iter(records), per_file=3) == 7
    names = [f"x-0000{part}-of-00003.jsonl.gz" for part in range(3)]
    assert [file.name for file in record_files(path)] == names == sorted(item.name for item in tmp_path.glob("x*"))
    assert read_records(path, Prompt) == records
    assert [file.read_bytes() for file in record_files(path)] == [file.read_bytes() for file in record_files(other)]
    write_records(tmp_path / "few.jsonl", records[:3], per_file=3)
    assert record_files(tmp_path / "few.jsonl") == [tmp_path / "few.jsonl"], "not above the limit"
    assert record_files(tmp_path / "none.jsonl") == []


def test_damage_to_a_part_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_records(path, [Prompt(system="", user=str(number)) for number in range(7)], per_file=3)
    first, second, third = record_files(path)
    reading = iter_records(path, Prompt)
    assert next(reading).user == "0", "one after the other: what is damaged behind is not met yet"
    second.write_bytes(second.read_bytes()[:-5])
    with pytest.raises(ArtefactError, match=r"cannot read .*x-00001-of-00003\.jsonl\.gz"):
        read_records(path, Prompt)
    first.write_bytes(gzip.compress(b'{"system": 3}\n'))
    with pytest.raises(ArtefactError, match=r"x-00000-of-00003\.jsonl\.gz:1: "):
        read_records(path, Prompt)
    third.unlink()
    with pytest.raises(ArtefactError, match=r"x-00002-of-00003\.jsonl\.gz is missing"):
        read_records(path, Prompt)


@pytest.mark.parametrize("torn", [b'{"system": "", "us', b"\xe5\xa5", b"\0" * 40, b'{"system": 3}\n', b"\n\n"])
def test_a_torn_line_is_left_out_and_the_next_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, torn: bytes
) -> None:
    path, records = tmp_path / "x.jsonl", [Prompt(system="", user=user) for user in ("a", "b", "题")]
    assert read_appended(path, Prompt) == []
    append_record(path, records[0])
    with path.open("ab") as file:
        file.write(torn)
    assert read_appended(path, Prompt) == records[:1]
    append_record(path, records[1])
    append_record(path, records[2])
    caplog.clear()
    assert read_appended(path, Prompt) == records
    assert ("x.jsonl: 1 damaged lines" in caplog.text) is bool(torn.strip())


def test_appended_records_that_are_whole_are_a_file_like_any_other(tmp_path: Path) -> None:
    path, records = tmp_path / "x.jsonl", [Prompt(system="", user=user) for user in "ab"]
    for record in records:
        append_record(path, record)
    assert read_appended(path, Prompt) == read_records(path, Prompt) == records
    assert path.read_bytes().count(b"\n") == 2
