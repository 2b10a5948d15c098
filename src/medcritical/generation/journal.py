"""The answers of a server on disk as they arrive, so that none is asked and paid for twice.

Append-only, one JSON line per answer, on the disk before the next step: what a kill at any moment leaves is whole but
for one torn line at most, and a torn line is asked again. The model that answers belongs to the file's name or to the
keys; several processes may append to one file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from medcritical.records import Completion, Record
from medcritical.store.jsonl import readable_write_errors

logger = logging.getLogger(__name__)


class Answer(Record, frozen=True, kw_only=True):
    """One finished answer: sample number `sample` of the request known by `key`.

    `billed_prompt_tokens` are those of its HTTP request, given to the first of the answers that came back together, so
    that they add up to what was paid. `is_estimated` says that the server gave no token counts.
    """

    key: str
    sample: int
    completion: Completion
    billed_prompt_tokens: int
    is_estimated: bool


class Journal:
    """The answers in one file. Use it inside `open_journal`."""

    def __init__(self, answers: dict[tuple[str, int], Answer], descriptor: int, path: Path) -> None:
        self._answers, self._descriptor, self._path = answers, descriptor, path

    def find(self, key: str, sample: int) -> Answer | None:
        """The answer to one sample of a request, None when it has not been given yet."""
        return self._answers.get((key, sample))

    def add(self, answer: Answer) -> None:
        """Write an answer; it is on the disk when this returns."""
        line = msgspec.json.encode(answer) + b"\n"
        with readable_write_errors(self._path):
            while line:  # a disk that fills up takes a part
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)
        self._answers[answer.key, answer.sample] = answer


@contextmanager
def open_journal(path: Path, others: Iterable[Path] = ()) -> Iterator[Journal]:
    """The journal at `path`, made where it is missing. Lines that a kill tore are left out and counted in the log.

    What `others` hold, journals of ranks that ask the same model, is found in it too.
    """
    with readable_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.write(descriptor, b"\n")  # the next answer starts a line of its own
        answers = _read(content, path)
        for other in others:
            answers = _read(other.read_bytes(), other) | answers
        yield Journal(answers, descriptor, path)
    finally:
        os.close(descriptor)


def _read(content: bytes, path: Path) -> dict[tuple[str, int], Answer]:
    decoder = msgspec.json.Decoder(Answer)
    answers: dict[tuple[str, int], Answer] = {}
    num_torn = 0
    for line in content.split(b"\n"):
        if not line:
            continue
        try:
            answer = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            num_torn += 1
            continue
        answers.setdefault((answer.key, answer.sample), answer)
    if num_torn:
        logger.warning("%s: %d torn lines, whose answers are asked again", path, num_torn)
    return answers
