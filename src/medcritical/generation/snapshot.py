"""A commit of a hub model as a folder of this machine, for a server that cannot be told a revision."""

from __future__ import annotations

from pathlib import Path

from medcritical.errors import ModelError

_PICKLED = ("*.bin", "*.pt", "*.pth")  # never read here, and often all weights once more


def local_snapshot(model: str, commit: str) -> Path:
    """The folder of a hub model at one commit: of the local cache, or downloaded to it. Offline the cache alone is looked at.

    Raises:
        ModelError: neither the cache nor the hub gives it.
    """
    from huggingface_hub import snapshot_download  # a third of a second
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # base of its client's, whichever client it has

    try:
        return Path(snapshot_download(model, revision=commit, ignore_patterns=list(_PICKLED)))
    except (OSError, ValueError, HTTPError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ModelError(
            f"{model} at commit {commit} cannot be had for a server that takes no revision: {reason}; connect once, or give a "
            "local folder as the model."
        ) from error
