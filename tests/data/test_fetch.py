"""Fetching from a server on this machine: whole and checked, or nothing."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from medcritical.cli import data as command
from medcritical.config.choices import DataFormat
from medcritical.data import downloads
from medcritical.data.downloads import DOWNLOADS, Download, RemoteFile, provider_of
from medcritical.data.fetch import fetch_file
from medcritical.data.publications import how_to_get
from medcritical.errors import DataError

CONTENT = ('{"id": "q1", "stem": "Which?", "options": {"A": "x", "B": "y"}, "answer": "A"}\n' * 2000).encode()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Published(ThreadingHTTPServer):
    """Serves CONTENT and archives of it; `/cut` promises more than it sends, `/late` does so `faults` times."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.content = CONTENT
        self.faults = 0
        self.daemon_threads = True

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Published

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        is_cut = self.path == "/cut" or (self.path == "/late" and self.server.faults > 0)
        bodies = {"/file": self.server.content, "/cut": CONTENT, "/late": CONTENT, "/zip": zipped(), "/tar": tarred()}
        if self.path not in bodies:
            self.send_error(503 if self.path == "/busy" else 404)
            return
        body = bodies[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.server.faults -= is_cut

    def log_message(self, format: str, *arguments: object) -> None:
        """Silence."""


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("inside/train.jsonl", CONTENT)
        archive.writestr("../escape.jsonl", b"never unpacked")
    return made.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("inside/train.jsonl")
        member.size = len(CONTENT)
        archive.addfile(member, io.BytesIO(CONTENT))
        archive.addfile(tarfile.TarInfo("inside/empty"))
    return made.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    monkeypatch.setenv("NO_PROXY", "*")
    published = Published()
    Thread(target=published.serve_forever, daemon=True).start()
    yield published
    published.shutdown()
    published.server_close()


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_with_a_known_hash(server: Published, tmp_path: Path) -> None:
    fetched = fetch_file(RemoteFile(server.url("file"), "set/train.jsonl", SHA256), tmp_path)
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.sha256, fetched.is_pinned, fetched.was_there) == (SHA256, True, False)
    assert files_in(tmp_path) == ["set/train.jsonl"]


def test_what_is_there_is_not_fetched_again(server: Published, tmp_path: Path) -> None:
    remote = RemoteFile(server.url("file"), "set/train.jsonl", SHA256)
    fetch_file(remote, tmp_path)
    assert fetch_file(remote, tmp_path).was_there
    assert server.asked == ["/file"]


def test_a_wrong_hash_keeps_nothing(server: Published, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"other bytes than expected \(sha256 {'0' * 64}\); nothing was kept"):
        fetch_file(RemoteFile(server.url("file"), "set/train.jsonl", "0" * 64), tmp_path, retries=0)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gone", "refused the file.*404"),
        ("busy", "503.*run the command again later"),
        ("cut", r"could not be read to its end.*nothing of it was kept: run .* again"),
    ],
)
def test_a_failed_download_keeps_nothing(server: Published, tmp_path: Path, path: str, said: str) -> None:
    for sha256 in ("", SHA256):
        with pytest.raises(DataError, match=said):
            fetch_file(RemoteFile(server.url(path), "set/train.jsonl", sha256), tmp_path, retries=0)
        assert files_in(tmp_path) == []


def test_no_server_is_one_sentence(tmp_path: Path, server: Published) -> None:
    url = server.url("file")
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"cannot be reached.*nothing of it was kept: see to the network"):
        fetch_file(RemoteFile(url, "set/train.jsonl"), tmp_path, retries=0)


def test_a_cut_connection_is_tried_again(server: Published, tmp_path: Path) -> None:
    server.faults = 1
    fetched = fetch_file(RemoteFile(server.url("late"), "set/train.jsonl"), tmp_path, retries=1)
    assert fetched.sha256 == SHA256
    assert server.asked == ["/late", "/late"]


def test_without_a_published_hash_the_first_one_is_kept_and_held_to(server: Published, tmp_path: Path) -> None:
    remote = RemoteFile(server.url("file"), "set/train.jsonl")
    fetched = fetch_file(remote, tmp_path)
    assert (fetched.sha256, fetched.is_pinned) == (SHA256, False)
    assert (tmp_path / "set/train.jsonl.sha256").read_text(encoding="utf-8") == f"{SHA256}  train.jsonl\n"
    fetched.path.unlink()
    server.content = CONTENT + b"changed upstream"
    with pytest.raises(DataError, match=rf"other bytes than expected \(sha256 {SHA256}"):
        fetch_file(remote, tmp_path, retries=0)
    assert files_in(tmp_path) == ["set/train.jsonl.sha256"]


def test_a_file_of_other_content_is_never_overwritten(server: Published, tmp_path: Path) -> None:
    path = tmp_path / "set/train.jsonl"
    path.parent.mkdir()
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl is there and is not the expected file"):
        fetch_file(RemoteFile(server.url("file"), "set/train.jsonl", SHA256), tmp_path)
    assert path.read_text(encoding="utf-8") == "mine"
    assert server.asked == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_of_an_archive_go_where_the_registry_says(server: Published, tmp_path: Path, kind: str) -> None:
    remote = RemoteFile(server.url(kind), f"set/all.{kind}", members={"inside/train.jsonl": "set/US/train.jsonl"})
    fetched = fetch_file(remote, tmp_path)
    assert [path.read_bytes() for path in fetched.unpacked] == [CONTENT]
    assert files_in(tmp_path) == ["set/US/train.jsonl", f"set/all.{kind}", f"set/all.{kind}.sha256"]
    fetched.unpacked[0].unlink()
    assert fetch_file(remote, tmp_path).unpacked[0].read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_without_the_member_is_an_error(server: Published, tmp_path: Path, kind: str) -> None:
    remote = RemoteFile(server.url(kind), f"set/all.{kind}", members={"inside/dev.jsonl": "set/dev.jsonl"})
    with pytest.raises(DataError, match=rf"all\.{kind} does not hold what it should .*inside/dev\.jsonl"):
        fetch_file(remote, tmp_path)
    broken = RemoteFile(server.url("file"), "set/broken.zip", members={"inside/dev.jsonl": "set/dev.jsonl"})
    with pytest.raises(DataError, match=r"broken\.zip does not hold"):
        fetch_file(broken, tmp_path)


def test_the_command_shows_licence_hash_and_use(
    server: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = (RemoteFile(server.url("file"), "cmexam/train.csv"), RemoteFile(server.url("gone"), "cmexam/val.csv"))
    monkeypatch.setitem(DOWNLOADS, "cmexam", Download(DataFormat.cmexam_csv, files[:1], "data=cmexam"))
    assert command.main(["fetch", "cmexam", "--to", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "licence: Apache-2.0; its README adds: academic and research use only" in shown
    assert f"sha256 {SHA256} (hash not published: kept in train.csv.sha256)" in shown
    assert shown.endswith(f"use it with: medcritical data=cmexam paths.data={tmp_path}\n")
    monkeypatch.setitem(DOWNLOADS, "cmexam", Download(DataFormat.cmexam_csv, files, "data=cmexam"))
    assert command.main(["fetch", "cmexam", "--to", str(tmp_path)]) == 2
    seen = capsys.readouterr()
    assert "(was there)" in seen.out
    assert "404" in seen.err
    assert "use it with" not in seen.out


def test_only_known_names_are_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["fetch", "medcmqa"])
    assert ended.value.code == 2
    assert "'cmexam', 'medqa'" in capsys.readouterr().err.replace("cmexam, medqa", "'cmexam', 'medqa'")


def test_the_registry_fits_the_configurations() -> None:
    """Every file of a data set's configuration that a download provides is found, so that `fetch` and `data=` meet."""
    folder = Path("data")
    for name, file in [
        ("cmexam", "cmexam/test_with_annotations.csv"),
        ("medqa", "medqa/US/train.jsonl"),
        ("pubmedqa", "pubmedqa/test_ground_truth.json"),
        ("mmlu", "mmlu/test/anatomy_test.csv"),
        ("huatuo", "huatuo_o1/demo_data.json"),
    ]:
        assert provider_of(folder / file, folder) == name
    assert provider_of(folder / "medmcqa/train.json", folder) is None
    for download in DOWNLOADS.values():
        assert all(remote.url.startswith("https://") for remote in download.files)
        assert all(len(remote.sha256) in (0, 64) for remote in download.files)


def test_known_hashes_are_those_of_the_files_at_hand(shared_data: Path) -> None:
    """Only whole published files can be compared; the others at hand are parts."""
    known = {remote.path: remote.sha256 for one in downloads.DOWNLOADS.values() for remote in one.files}
    path = "pubmedqa/test_ground_truth.json"
    assert hashlib.sha256((shared_data / path).read_bytes()).hexdigest() == known[path]


@pytest.mark.parametrize("name", list(downloads.BY_HAND))
def test_what_only_hands_can_get_says_why(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["fetch", name, "--to", str(tmp_path)]) == 2
    assert f"{name} cannot be fetched: " in (said := capsys.readouterr().err)
    assert "parquet" in said
    assert list(tmp_path.iterdir()) == []
    assert command.main(["list"]) == 0
    assert f"by hand  {name}: " in capsys.readouterr().out


def test_a_missing_file_says_what_to_run() -> None:
    assert "Run `medcritical data fetch cmexam --to FOLDER`" in how_to_get(DataFormat.cmexam_csv)
    assert "Download it yourself" in how_to_get(DataFormat.medmcqa_jsonl)
