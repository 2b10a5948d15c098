"""Content hashes of the files and folders a configuration names: the plan's only knowledge of the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcritical.config.choices import DataFormat, EngineKind, StudentKind
from medcritical.config.packaged import PACKAGE, find_packaged_gguf
from medcritical.config.schema import Config
from medcritical.data.downloads import provider_of
from medcritical.errors import ArtefactError, DataError
from medcritical.records import Record
from medcritical.store.hashing import hash_file, hash_json
from medcritical.store.jsonl import read_json, write_json

_CACHE = "sources.json"


class _Seen(Record, frozen=True, kw_only=True):
    """A hash taken before, valid while size (bytes) and modification time (nanoseconds) stay."""

    size: int
    modified: int
    sha256: str


def fingerprint_sources(config: Config, store: Path) -> dict[str, str]:
    """Path or package:NAME/FILE.gguf as written in the configuration -> SHA-256 of its content.

    Raises DataError for a data file or a student's folder that is missing, and for anything that cannot be read; ModelError
    for a packaged file that is not installed. A model given as a folder or file is known by the hashes of its files. Hashes of
    unchanged files are remembered in the store.
    """
    cache_path = store / _CACHE
    cache = _remembered(cache_path)
    before = dict(cache)
    found = {}
    files = config.data.files
    for name in [*files.train, *files.dev, *files.test, *config.teacher.files]:
        path = Path(name).expanduser()
        with _reading(name):
            if not path.is_file():
                raise DataError(_missing(name, config))
            found[name] = _hash(path, cache)
    students = _students(config)
    for name in [*students, *_engines(config)]:
        folder = Path(name).expanduser()
        with _reading(name):
            if (key := students.get(name)) and is_path(name) and not folder.is_dir():
                raise DataError(f"{name} ({key}) is no folder of this machine: set it to where a model lies.")
            if name.startswith(PACKAGE):
                found[name] = _hash(find_packaged_gguf(name), cache)
            elif name and folder.is_dir():
                model_files = sorted(path for path in folder.iterdir() if path.is_file())
                found[name] = hash_json([[path.name, _hash(path, cache)] for path in model_files])
            elif name and folder.is_file():  # a GGUF for llama-server
                found[name] = _hash(folder, cache)
    if cache != before and not config.plan:  # a plan may be asked for where nothing can be written
        write_json(cache_path, cache)
    return found


def _remembered(cache_path: Path) -> dict[str, _Seen]:
    """Hashes taken before; none where the cache is damaged, for it can be made again."""
    try:
        return read_json(cache_path, dict[str, _Seen]) if cache_path.is_file() else {}
    except ArtefactError:
        return {}


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what the system says when `name` cannot be read into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or name} cannot be read: {error.strerror}; mend its permissions.") from error


def _students(config: Config) -> dict[str, str]:
    """Students and baselines that the configuration names, ids and folders of this machine, each with its key."""
    students = {
        baseline.student.source: f"baselines.{name}.student.source" for name, baseline in config.baselines.items()
    }
    if config.student.kind is StudentKind.pretrained:
        students[config.student.source] = "student.source"
    return students


def _engines(config: Config) -> list[str]:
    """The models of teacher and judge, likewise."""
    asked = [config.teacher.engine, config.verifier.judge.engine if config.verifier.judge else None]
    engines = [engine for engine in asked if engine is not None]
    # What a server calls its models is its own affair.
    return [one.model for one in engines if one.kind is EngineKind.embedded or not one.model.startswith(PACKAGE)]


def is_path(name: str) -> bool:
    """True for what can be no Hugging Face id (NAME or OWNER/NAME): it begins as a path does, or is deeper."""
    return name.startswith(("/", ".", "~")) or (name.count("/") > 1 and not name.startswith(PACKAGE))


def _missing(name: str, config: Config) -> str:
    is_trace = name in config.teacher.files
    key = "teacher.files" if is_trace else "data.files"
    if not is_trace and config.data.format is DataFormat.jsonl:  # the user's own: published nowhere
        return f"{name} ({key}) does not exist: set {key} to where it lies."
    provider = provider_of(Path(name), Path(config.paths.data))
    remedy = f"run `medcritical data fetch {provider} --to {config.paths.data}`, or " if provider else ""
    known = f"`medcritical data list` says where {'traces' if is_trace else config.data.name} can be had"
    return f"{name} ({key}) does not exist: {remedy}set {key} to where it lies; {known}."


def _hash(path: Path, cache: dict[str, _Seen]) -> str:
    stat, name = path.stat(), str(path.resolve())
    seen = cache.get(name)
    if seen is None or (seen.size, seen.modified) != (stat.st_size, stat.st_mtime_ns):
        seen = cache[name] = _Seen(size=stat.st_size, modified=stat.st_mtime_ns, sha256=hash_file(path))
    return seen.sha256
