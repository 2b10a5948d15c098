"""Content-addressed artefacts: a folder per result, named by the hash of what made it."""

from medcritical.store.artefact import ArtefactRef, Costs, Manifest, Store
from medcritical.store.jsonl import read_json, read_records, write_json, write_records

__all__ = [
    "ArtefactRef",
    "Costs",
    "Manifest",
    "Store",
    "read_json",
    "read_records",
    "write_json",
    "write_records",
]
