"""The record of a checkpoint, which says where its model is. Reading it loads no model and no torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from medcritical.errors import ModelError
from medcritical.records import Record

RECORD_FILE = "checkpoint.json"
MODEL_FOLDER = "model"
ADAPTER_FOLDER = "adapter"


class Checkpoint(Record, frozen=True):
    """Where a model is. Written by every stage that makes or trains one, read by every stage that runs one.

    `model` is "model" for the folder beside this record, else an absolute folder or a Hugging Face id.
    `adapter` is for information: its weights are already merged into the model.
    """

    model: str
    revision: str = ""
    trust_remote_code: bool = False
    adapter: str | None = None


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the record of a checkpoint into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(checkpoint), indent=2) + b"\n")


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return the record of the checkpoint in `folder`.

    Raises:
        ModelError: the record is missing, unreadable or malformed.
    """
    path = folder / RECORD_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no checkpoint: it has no {RECORD_FILE}") from error
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path} cannot be read as a checkpoint record: {error}") from error


def find_model(folder: Path) -> str:
    """Where the model of the checkpoint in `folder` is: an absolute folder or a Hugging Face id.

    Raises:
        ModelError: the record is missing, unreadable or malformed.
    """
    model = read_checkpoint(folder).model
    return str((folder / MODEL_FOLDER).absolute()) if model == MODEL_FOLDER else model
