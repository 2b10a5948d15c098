"""The record of a checkpoint, which says where its weights are. Reading it loads no model and no torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from medcritical.errors import ModelError
from medcritical.records import Record

RECORD_FILE = "checkpoint.json"
MODEL_FOLDER = "model"
ADAPTER_FOLDER = "adapter"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


class Checkpoint(Record, frozen=True):
    """Where a model is. Written by every stage that makes or trains one, read by every stage that runs one.

    A whole model: `model` is "model" for the folder beside this record, else an absolute folder or a Hugging Face id.
    An adapter: `base` is the folder of the checkpoint that `adapter` lies over, as a path from this record's own folder, so
    that a store can be moved. Earlier versions wrote `model` and `adapter`: there the adapter is merged into the model.
    """

    model: str = ""
    revision: str = ""
    trust_remote_code: bool = False
    adapter: str | None = None
    base: str | None = None

    def __post_init__(self) -> None:
        if bool(self.model) == bool(self.base):
            raise ValueError("a checkpoint has either a model or a base")
        if self.base and not self.adapter:
            raise ValueError("a checkpoint with a base has an adapter")


@dataclass(frozen=True)
class Weights:
    """What the weights of a checkpoint are made of.

    Attributes:
        model: absolute folder or Hugging Face id of the whole model that they begin with.
        is_local: whether it is such a folder.
        adapters: absolute folders of the adapters to be merged into it, in this order.
    """

    model: str
    is_local: bool
    revision: str
    trust_remote_code: bool
    adapters: tuple[Path, ...]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the record of a checkpoint into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(checkpoint), indent=2) + b"\n")


def point_to_base(folder: Path, base: Path) -> str:
    """The checkpoint in `base` as the record in `folder` names it: from where that really lies, links followed."""
    return Path(os.path.relpath(base.resolve(), folder.resolve())).as_posix()


def copy_record(source: Path, target: Path) -> None:
    """Write the record of the checkpoint in `source`, and its adapter's, into `target`: they name the same base from there."""
    checkpoint = read_checkpoint(source)
    if checkpoint.base is not None:
        base = point_to_base(target, _base_folder(source, checkpoint.base))
        checkpoint = msgspec.structs.replace(checkpoint, base=base)
    write_checkpoint(target, checkpoint)
    if checkpoint.adapter and (source / checkpoint.adapter / ADAPTER_CONFIG).is_file():
        _copy_adapter_config(source / checkpoint.adapter, target / checkpoint.adapter)


def _copy_adapter_config(source: Path, target: Path) -> None:
    """The base is a Hugging Face id, an absolute folder, or a path from the adapter's own folder."""
    config = json.loads((source / ADAPTER_CONFIG).read_bytes())
    base = config.get("base_model_name_or_path") or ""
    if base.startswith("../"):
        config["base_model_name_or_path"] = point_to_base(target, source / base)
    target.mkdir(parents=True, exist_ok=True)
    (target / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


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


def find_weights(folder: Path) -> Weights:
    """What the weights of the checkpoint in `folder` are made of: its base's, and so on down to a whole model.

    Raises:
        ModelError: a record is missing, unreadable or malformed, or a base is gone.
    """
    checkpoint, folder = read_checkpoint(folder), folder.resolve()
    adapters, seen = list[Path](), {folder}
    while checkpoint.base is not None:
        assert checkpoint.adapter is not None
        adapters.insert(0, folder / checkpoint.adapter)
        above, folder = folder, _base_folder(folder, checkpoint.base)
        if folder in seen or not (folder / RECORD_FILE).is_file():
            raise ModelError(
                f"{above} holds an adapter over the checkpoint {folder}, which is gone: "
                "give the command of the run again, which makes it anew, or put the folder back"
            )
        seen.add(folder)
        checkpoint = read_checkpoint(folder)
    is_beside = checkpoint.model == MODEL_FOLDER
    model = str(folder / MODEL_FOLDER) if is_beside else checkpoint.model
    return Weights(
        model=model,
        is_local=is_beside or Path(model).is_absolute(),
        revision=checkpoint.revision,
        trust_remote_code=checkpoint.trust_remote_code,
        adapters=tuple(adapters),
    )


def _base_folder(folder: Path, base: str) -> Path:
    return (folder / base).resolve()  # as the system goes: out of a linked folder ".." leads to where it really lies
