"""Published files brought to the data folder: each one whole and checked, or not at all.

A file is written under another name and renamed when its hash is right, so a cut connection leaves nothing behind and a
second run fetches what is missing. Nothing that is there already is ever overwritten.
"""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pooch
import requests

from medcritical.data.downloads import RemoteFile
from medcritical.errors import DataError

RETRIES = 2


@dataclass(frozen=True)
class Fetched:
    """A file of the data folder. `is_pinned`: its hash was known beforehand, not first seen in this download."""

    path: Path
    sha256: str
    is_pinned: bool
    was_there: bool
    unpacked: tuple[Path, ...]


def fetch_file(remote: RemoteFile, folder: Path, *, retries: int = RETRIES, progress: bool = False) -> Fetched:
    """Download one file into `folder`, unless it is there; unpack what is wanted of an archive.

    A file whose hash nobody published is trusted the first time, and its hash recorded in `<file>.sha256`; from then on
    it is held to that.

    Raises:
        DataError: the server refuses, the connection breaks `retries` + 1 times, the bytes are not the expected ones, or
            a file of that name and other content is there.
    """
    path, record = folder / remote.path, folder / f"{remote.path}.sha256"
    expected = remote.sha256 or _recorded(record)
    was_there = path.is_file()
    if was_there and expected and (found := pooch.file_hash(str(path))) != expected:
        raise DataError(
            f"{path} is there and is not the expected file (sha256 {found}, expected {expected}): move it away to fetch it."
        )
    if not was_there:
        _download(remote, folder, expected, retries, progress)
    sha256 = expected or pooch.file_hash(str(path))
    if not remote.sha256:
        record.write_text(f"{sha256}  {path.name}\n", encoding="utf-8")
    return Fetched(path, sha256, bool(remote.sha256), was_there, tuple(_unpack(path, remote, folder)))


def _recorded(record: Path) -> str:
    """The hash in a `.sha256` file of an earlier download; empty without one."""
    words = record.read_text(encoding="utf-8").split() if record.is_file() else []
    return words[0] if words else ""


def _download(remote: RemoteFile, folder: Path, expected: str, retries: int, progress: bool) -> None:
    pooch.get_logger().setLevel("WARNING")  # the command says itself what it fetches
    registry = pooch.create(
        path=folder,
        base_url="",
        registry={remote.path: f"sha256:{expected}" if expected else None},
        urls={remote.path: remote.url},
        retry_if_failed=retries,
    )
    try:
        registry.fetch(remote.path, downloader=pooch.HTTPDownloader(progressbar=progress))
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        is_passing = status >= 500 or status == 429
        raise DataError(
            f"The server does not answer as it should ({error}): run the command again later."
            if is_passing
            else f"The server refused the file ({error}): it is not published there any more, or not to you; "
            "`medcritical data list` names the publisher."
        ) from error
    except requests.ConnectionError as error:
        raise DataError(
            f"{remote.url} cannot be reached, or the connection broke off; nothing of it was kept: see to the network (and "
            "HTTPS_PROXY, where there is one) and run the command again."
        ) from error
    except requests.RequestException as error:
        raise DataError(
            f"{remote.url} could not be read to its end ({type(error).__name__}); nothing of it was kept: run the command "
            "again."
        ) from error
    except ValueError as error:  # pooch's word for a wrong hash
        raise DataError(
            f"{remote.url} gave other bytes than expected (sha256 {expected}); nothing was kept. Either the file was "
            "changed where it is published or something between here and there changed it."
        ) from error
    except OSError as error:
        raise DataError(f"{folder / remote.path} cannot be written: {error.strerror}.") from error


def _unpack(archive: Path, remote: RemoteFile, folder: Path) -> list[Path]:
    """The wanted members at the places the registry gives them: names inside an archive never become paths.

    Raises:
        DataError: the archive is damaged or a member is not in it.
    """
    targets = {name: folder / path for name, path in remote.members.items()}
    missing = {name: path for name, path in targets.items() if not path.is_file()}
    try:
        if missing and zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for name, path in missing.items():
                    with zipped.open(name) as member:
                        _place(member, path)
        elif missing:
            with tarfile.open(archive) as tar:
                for name, path in missing.items():
                    _place(tar.extractfile(name), path)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise DataError(
            f"{archive} does not hold what it should ({error}): move it away and fetch it again."
        ) from error
    return list(targets.values())


def _place(member: IO[bytes] | None, path: Path) -> None:
    """The content of an archive's member as a file, whole or not at all."""
    if member is None:
        raise KeyError(f"{path.name} is no file of the archive")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            shutil.copyfileobj(member, file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
